"""Lightweight GAN: gated units, a blur, linear attention, and early maps that excite late ones; a trainer around it."""

import torch
import torch.nn.functional as F
from torch import nn


class Blur(nn.Module):
    def __init__(self):
        super().__init__()
        f = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("f", f[None, None, :] * f[None, :, None] / 16)

    def forward(self, x):
        c = x.shape[1]
        kernel = self.f[None].expand(c, 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, groups=c)


class LinearAttention(nn.Module):
    def __init__(self, dim, heads=2, dim_head=4):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Conv2d(dim, heads * dim_head * 3, 1, bias=False)
        self.to_out = nn.Conv2d(heads * dim_head, dim, 1)

    def forward(self, x):
        b, _, h, w = x.shape
        q, k, v = (t.reshape(b, self.heads, -1, h * w) for t in self.to_qkv(F.gelu(x)).chunk(3, dim=1))
        context = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=-1), v)
        out = torch.einsum("bhde,bhdn->bhen", context, q.softmax(dim=-2))
        return x + self.to_out(out.reshape(b, -1, h, w))


class Up(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            Blur(),
            nn.Conv2d(inputs, outputs * 2, 3, padding=1),
            nn.BatchNorm2d(outputs * 2),
            nn.GLU(dim=1),
        )


class Generator(nn.Module):
    def __init__(self, *, image_size, latent_dim=16, fmap_max=16):
        super().__init__()
        c = fmap_max
        self.initial_conv = nn.Sequential(
            nn.ConvTranspose2d(latent_dim, c * 2, 4), nn.BatchNorm2d(c * 2), nn.GLU(dim=1)
        )
        self.layers = nn.ModuleList()
        size = 4
        while size < image_size:
            self.layers.append(Up(c, c // 2))
            size, c = size * 2, c // 2
        self.attn = LinearAttention(fmap_max // 2)
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d((4, 4)), nn.Conv2d(fmap_max, c, 4), nn.LeakyReLU(0.1), nn.Conv2d(c, c, 1), nn.Sigmoid()
        )
        self.out_conv = nn.Conv2d(c, 3, 3, padding=1)

    def forward(self, x):
        x = F.normalize(x, dim=1)[:, :, None, None]
        x = first = self.initial_conv(x)
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index == 0:
                x = self.attn(x)
        return self.out_conv(x * self.excite(first)).clamp(-1.0, 1.0)
