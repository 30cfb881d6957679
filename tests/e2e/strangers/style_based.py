"""Style-based generator: mapping net, a convolution modulated for each image, fixed noise in buffers, (image, w)."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class EqualLinear(nn.Module):
    def __init__(self, inputs, outputs, bias_init=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.full((outputs,), bias_init))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x):
        return F.linear(x, self.weight * self.scale, self.bias)


class ModulatedConv2d(nn.Module):
    def __init__(self, inputs, outputs, kernel, style_dim, demodulate=True, upsample=False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel))
        self.modulation = EqualLinear(style_dim, inputs, bias_init=1.0)
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.kernel, self.demodulate, self.upsample = kernel, demodulate, upsample

    def forward(self, x, style):
        batch, inputs, height, width = x.shape
        weight = self.scale * self.weight * self.modulation(style).view(batch, 1, inputs, 1, 1)
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8).view(batch, -1, 1, 1, 1)
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            height, width = height * 2, width * 2
        weight = weight.view(-1, inputs, self.kernel, self.kernel)
        out = F.conv2d(x.reshape(1, batch * inputs, height, width), weight, padding=self.kernel // 2, groups=batch)
        return out.view(batch, -1, height, width)


class StyledConv(nn.Module):
    def __init__(self, inputs, outputs, style_dim, upsample=False):
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, 3, style_dim, upsample=upsample)
        self.noise = nn.Module()
        self.noise.weight = nn.Parameter(torch.full((1,), 0.1))
        self.bias = nn.Parameter(torch.zeros(1, outputs, 1, 1))

    def forward(self, x, style, noise):
        out = self.conv(x, style) + self.noise.weight * noise
        return F.leaky_relu(out + self.bias, 0.2) * math.sqrt(2)


class Generator(nn.Module):
    def __init__(self, size, style_dim, n_mlp, channels=8):
        super().__init__()
        self.style = nn.Sequential(*[EqualLinear(style_dim, style_dim) for _ in range(n_mlp)])
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        self.noises = nn.Module()
        for i in range(int(math.log2(size)) - 1):
            self.noises.register_buffer(f"noise_{i}", torch.randn(1, 1, 4 * 2**i, 4 * 2**i))
            self.convs.append(StyledConv(channels, channels, style_dim, upsample=i > 0))
            self.to_rgbs.append(ModulatedConv2d(channels, 3, 1, style_dim, demodulate=False))

    def forward(self, styles, return_latents=True, truncation=1, noise=None):
        latent = styles * torch.rsqrt(torch.mean(styles**2, dim=1, keepdim=True) + 1e-8)
        for layer in self.style:
            latent = F.leaky_relu(layer(latent), 0.2)
        latent = latent * truncation
        if noise is None:
            noise = [getattr(self.noises, f"noise_{i}") for i in range(len(self.convs))]
        out, image = self.input.repeat(latent.shape[0], 1, 1, 1), None
        for conv, to_rgb, added in zip(self.convs, self.to_rgbs, noise, strict=True):
            out = conv(out, latent, added)
            skip = to_rgb(out, latent)
            image = skip if image is None else skip + F.interpolate(image, scale_factor=2, mode="nearest")
        return torch.tanh(image), latent if return_latents else None
