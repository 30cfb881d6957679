"""ONNX files that nobody vouches for, down to a graph of serving's signature. Free of torch: it runs in a small process."""
