"""Conditional DCGAN in the manner of the MNIST scripts: latents and one-hot labels as maps, joined inside."""

import torch
from torch import nn


class generator(nn.Module):  # noqa: N801 - such names are part of what has to work
    def __init__(self, d=128):
        super().__init__()
        self.deconv1_1 = nn.ConvTranspose2d(10, d * 2, 4, 1, 0)
        self.deconv1_1_bn = nn.BatchNorm2d(d * 2)
        self.deconv1_2 = nn.ConvTranspose2d(3, d * 2, 4, 1, 0)
        self.deconv1_2_bn = nn.BatchNorm2d(d * 2)
        self.deconv2 = nn.ConvTranspose2d(d * 4, d, 4, 2, 1)
        self.deconv2_bn = nn.BatchNorm2d(d)
        self.deconv3 = nn.ConvTranspose2d(d, 1, 4, 2, 1)

    def forward(self, input, label):
        x = torch.relu(self.deconv1_1_bn(self.deconv1_1(input)))
        y = torch.relu(self.deconv1_2_bn(self.deconv1_2(label)))
        x = torch.cat([x, y], 1)
        x = torch.relu(self.deconv2_bn(self.deconv2(x)))
        return torch.tanh(self.deconv3(x))


class Joined(nn.Module):
    """The tutorial's other habit: whoever calls it joins latents and one-hot labels to one input."""

    def __init__(self, channels=13):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, 8, 4, 1, 0)
        self.out = nn.ConvTranspose2d(8, 1, 4, 2, 1)

    def forward(self, noise_and_labels):
        return torch.tanh(self.out(torch.relu(self.up(noise_and_labels))))
