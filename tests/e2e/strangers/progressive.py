"""Progressive GAN: equalised learning rate, PixelNorm, a list of blocks and of toRGB layers, alpha and steps."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


class WSConv2d(nn.Module):
    def __init__(self, inputs, outputs, kernel=3, padding=1, gain=2):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, 1, padding)
        self.scale = (gain / (inputs * kernel**2)) ** 0.5
        self.bias = self.conv.bias
        self.conv.bias = None
        nn.init.normal_(self.conv.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x):
        return self.conv(x * self.scale) + self.bias.view(1, self.bias.shape[0], 1, 1)


class PixelNorm(nn.Module):
    def forward(self, x):
        return x / torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + 1e-8)


class ConvBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.conv2 = WSConv2d(inputs, outputs), WSConv2d(outputs, outputs)
        self.leaky, self.pn = nn.LeakyReLU(0.2), PixelNorm()

    def forward(self, x):
        x = self.pn(self.leaky(self.conv1(x)))
        return self.pn(self.leaky(self.conv2(x)))


class Generator(nn.Module):
    def __init__(self, z_dim, in_channels, img_channels=3, factors=(1, 1, 1 / 2)):
        super().__init__()
        self.initial = nn.Sequential(
            PixelNorm(),
            nn.ConvTranspose2d(z_dim, in_channels, 4, 1, 0),
            nn.LeakyReLU(0.2),
            WSConv2d(in_channels, in_channels),
            nn.LeakyReLU(0.2),
            PixelNorm(),
        )
        self.initial_rgb = WSConv2d(in_channels, img_channels, 1, 0)
        self.prog_blocks, self.rgb_layers = nn.ModuleList(), nn.ModuleList([self.initial_rgb])
        for before, after in pairwise(factors):
            self.prog_blocks.append(ConvBlock(int(in_channels * before), int(in_channels * after)))
            self.rgb_layers.append(WSConv2d(int(in_channels * after), img_channels, 1, 0))

    def forward(self, x, alpha=1.0, steps=2):
        out = self.initial(x)
        if steps == 0:
            return torch.tanh(self.initial_rgb(out))
        for step in range(steps):
            upscaled = F.interpolate(out, scale_factor=2, mode="nearest")
            out = self.prog_blocks[step](upscaled)
        faded_in = self.rgb_layers[steps](out)
        if alpha < 1:
            faded_in = alpha * faded_in + (1 - alpha) * self.rgb_layers[steps - 1](upscaled)
        return torch.tanh(faded_in)
