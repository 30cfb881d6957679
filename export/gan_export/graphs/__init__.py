"""From an ONNX file that nobody vouches for to a graph of serving's signature; free of torch, for a small process."""
