"""The parts of `quantize.py`: ranges of activations, rounded weights, which layers, and the graph with them."""
