"""Export a generator to ONNX with a certificate of its numerics."""
