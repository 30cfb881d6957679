"""Checkerboard energy: how much of the finest detail is the pattern that strided transposed convolutions leave.

Odena, Dumoulin & Olah, 2016, "Deconvolution and checkerboard artifacts". Each 2x2 block has three detail coefficients
(Haar: horizontal, vertical, diagonal), and the diagonal one is a checkerboard. Its share of the detail energy is low in
photographs and drawings, and high in images with checkerboard artifacts; compare with the real data's own.
"""

from __future__ import annotations

from torch import Tensor


def checkerboard_energy(images: Tensor) -> float:
    """Share, 0 to 1, of 2x2 detail energy in the diagonal pattern; uint8 (N, C, H, W). 0 for flat images."""
    x = images.float()
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    a, b = x[:, :, 0:height:2, 0:width:2], x[:, :, 0:height:2, 1:width:2]
    c, d = x[:, :, 1:height:2, 0:width:2], x[:, :, 1:height:2, 1:width:2]
    horizontal = (a - b + c - d).square().mean()
    vertical = (a + b - c - d).square().mean()
    diagonal = (a - b - c + d).square().mean()
    total = horizontal + vertical + diagonal
    return float(diagonal / total) if total else 0.0
