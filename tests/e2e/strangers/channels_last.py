"""A port from another framework: weight norm, swish, LayerNorm, and images as (N, H, W, C)."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Generator(nn.Module):
    def __init__(self, latent_dim=12, width=8):
        super().__init__()
        self.project = weight_norm(nn.Linear(latent_dim, 4 * 4 * width))
        self.norm = nn.LayerNorm(width)
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), weight_norm(nn.Conv2d(width, width, 3, padding=1)))
        self.shuffle = nn.PixelShuffle(2)
        self.to_rgb = nn.Conv2d(width // 4, 3, 3, padding=1, padding_mode="reflect")
        self.width = width

    def forward(self, z):
        h = self.norm(nn.functional.silu(self.project(z)).view(-1, 4, 4, self.width))
        h = nn.functional.silu(self.up(h.permute(0, 3, 1, 2).contiguous()))
        return torch.tanh(self.to_rgb(self.shuffle(h))).permute(0, 2, 3, 1)
