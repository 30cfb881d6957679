"""The Open Inference Protocol v2 over HTTP, with binary tensors: what `tritonclient[http]` speaks."""
