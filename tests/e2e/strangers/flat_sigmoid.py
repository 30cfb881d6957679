"""The vanilla GAN of a hundred notebooks: linear layers, a sigmoid, and 784 numbers in a row (here 196)."""

from torch import nn


def hidden(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


class Generator(nn.Module):
    def __init__(self, z_dim=10, im_dim=196, hidden_dim=16):
        super().__init__()
        self.gen = nn.Sequential(
            hidden(z_dim, hidden_dim),
            hidden(hidden_dim, hidden_dim * 2),
            nn.Linear(hidden_dim * 2, im_dim),
            nn.Sigmoid(),
        )

    def forward(self, noise):
        return self.gen(noise)
