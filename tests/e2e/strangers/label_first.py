"""Fully connected conditional GAN whose forward takes the label before the noise and gives (N, H, W)."""

import torch
from torch import nn


class CGenerator(nn.Module):
    def __init__(self, opt):
        super().__init__()
        self.size = opt.img_size
        self.embed = nn.Embedding(opt.n_classes, 6)
        self.body = nn.Sequential(
            nn.Linear(opt.latent_dim + 6, 64),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.3),
            nn.Linear(64, 96),
            nn.BatchNorm1d(96, momentum=0.8),
            nn.LeakyReLU(0.2),
            nn.Linear(96, opt.img_size**2),
            nn.Tanh(),
        )

    def forward(self, labels, noise):
        x = torch.cat((self.embed(labels), noise), -1)
        return self.body(x).view(x.size(0), self.size, self.size)
