"""How good generated images are, against real ones; one file per metric.

Features are float32 (N, D) tensors of one extractor (features.py), images are uint8 (N, C, H, W) tensors.
"""
