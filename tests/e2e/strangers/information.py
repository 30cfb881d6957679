"""InfoGAN: noise, a categorical and a continuous code; joined by the caller, or as three arguments."""

import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.tconv1 = nn.ConvTranspose2d(14, width * 2, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * 2)
        self.tconv2 = nn.ConvTranspose2d(width * 2, width, 7, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.tconv4 = nn.ConvTranspose2d(width, 1, 4, 2, padding=1, bias=False)

    def forward(self, x):
        x = torch.relu(self.bn1(self.tconv1(x)))
        x = torch.relu(self.bn2(self.tconv2(x)))
        return torch.sigmoid(self.tconv4(x) * 4)


class ThreeParts(Generator):
    def forward(self, noise, labels, code):
        return super().forward(torch.cat((noise, labels, code), -1)[:, :, None, None])
