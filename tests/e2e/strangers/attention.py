"""Self-attention GAN: spectral norm everywhere, conditional BatchNorm, attention with a learned gate."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm


class SelfAttn(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.query_conv = spectral_norm(nn.Conv2d(dim, dim // 4, 1))
        self.key_conv = spectral_norm(nn.Conv2d(dim, dim // 4, 1))
        self.value_conv = spectral_norm(nn.Conv2d(dim, dim, 1))
        self.gamma = nn.Parameter(torch.full((1,), 0.7))

    def forward(self, x):
        n, c, h, w = x.size()
        query = self.query_conv(x).view(n, -1, h * w).permute(0, 2, 1)
        key = self.key_conv(x).view(n, -1, h * w)
        attention = torch.softmax(torch.bmm(query, key), dim=-1)
        value = self.value_conv(x).view(n, -1, h * w)
        out = torch.bmm(value, attention.permute(0, 2, 1)).view(n, c, h, w)
        return self.gamma * out + x


class ConditionalBatchNorm2d(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.bn = nn.BatchNorm2d(features, affine=False, momentum=0.1)
        self.embed = nn.Embedding(classes, features * 2)

    def forward(self, x, y):
        gamma, beta = self.embed(y).chunk(2, 1)
        return self.bn(x) * (1 + gamma[:, :, None, None]) + beta[:, :, None, None]


class GenBlock(nn.Module):
    def __init__(self, inputs, outputs, classes):
        super().__init__()
        self.cond_bn1 = ConditionalBatchNorm2d(inputs, classes)
        self.snconv2d1 = spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.cond_bn2 = ConditionalBatchNorm2d(outputs, classes)
        self.snconv2d2 = spectral_norm(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.snconv2d0 = spectral_norm(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x, labels):
        up = F.interpolate(x, scale_factor=2, mode="nearest")
        h = self.snconv2d1(F.interpolate(F.relu(self.cond_bn1(x, labels)), scale_factor=2, mode="nearest"))
        return self.snconv2d2(F.relu(self.cond_bn2(h, labels))) + self.snconv2d0(up)


class Generator(nn.Module):
    def __init__(self, z_dim, g_conv_dim, num_classes):
        super().__init__()
        self.width = g_conv_dim
        self.snlinear0 = spectral_norm(nn.Linear(z_dim, g_conv_dim * 16))
        self.block1 = GenBlock(g_conv_dim, g_conv_dim, num_classes)
        self.self_attn = SelfAttn(g_conv_dim)
        self.block2 = GenBlock(g_conv_dim, g_conv_dim // 2, num_classes)
        self.bn = nn.BatchNorm2d(g_conv_dim // 2)
        self.snconv2d1 = spectral_norm(nn.Conv2d(g_conv_dim // 2, 3, 3, padding=1))

    def forward(self, z, labels):
        x = self.snlinear0(z).view(-1, self.width, 4, 4)
        x = self.block2(self.self_attn(self.block1(x, labels)), labels)
        return torch.tanh(self.snconv2d1(F.relu(self.bn(x))))
