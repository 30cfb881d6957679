"""Noise that is drawn anew in every call, scaled by a learned strength."""

import torch
from torch import nn


class NoiseInjection(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, image, noise=None):
        if noise is None:
            noise = image.new_empty(len(image), 1, *image.shape[2:]).normal_()
        return image + self.weight * noise


class Generator(nn.Module):
    def __init__(self, nz):
        super().__init__()
        self.input = nn.Sequential(nn.Linear(nz, 8 * 8 * 8), nn.Unflatten(1, (8, 8, 8)), NoiseInjection())
        self.to_image = nn.Sequential(nn.LeakyReLU(0.2), nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh())

    def forward(self, style):
        return self.to_image(self.input(style))
