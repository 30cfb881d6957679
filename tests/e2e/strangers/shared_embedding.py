"""Large-scale conditional GAN: z in chunks, each joined with a shared embedding of the label that the caller makes."""

import torch
import torch.nn.functional as F
from torch import nn


class CCBN(nn.Module):
    def __init__(self, features, inputs):
        super().__init__()
        self.gain, self.bias = nn.Linear(inputs, features, bias=False), nn.Linear(inputs, features, bias=False)
        self.register_buffer("stored_mean", torch.zeros(features))
        self.register_buffer("stored_var", torch.ones(features))

    def forward(self, x, y):
        gain = (1 + self.gain(y)).view(y.size(0), -1, 1, 1)
        bias = self.bias(y).view(y.size(0), -1, 1, 1)
        out = F.batch_norm(x, self.stored_mean, self.stored_var, None, None, self.training, 0.1, 1e-4)
        return out * gain + bias


class GBlock(nn.Module):
    def __init__(self, inputs, outputs, conditions):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_sc = nn.Conv2d(inputs, outputs, 1)
        self.bn1, self.bn2 = CCBN(inputs, conditions), CCBN(outputs, conditions)

    def forward(self, x, y):
        h = F.interpolate(F.relu(self.bn1(x, y)), scale_factor=2)
        h = self.conv2(F.relu(self.bn2(self.conv1(h), y)))
        return h + self.conv_sc(F.interpolate(x, scale_factor=2))


class Generator(nn.Module):
    def __init__(self, G_ch=4, dim_z=12, n_classes=5, shared_dim=6, **_):  # noqa: N803
        super().__init__()
        self.ch, self.num_slots = G_ch, 3
        self.z_chunk_size = dim_z // self.num_slots
        self.shared = nn.Embedding(n_classes, shared_dim)
        self.linear = nn.Linear(self.z_chunk_size, G_ch * 2 * 16)
        widths = ((G_ch * 2, G_ch * 2), (G_ch * 2, G_ch))
        self.blocks = nn.ModuleList(
            nn.ModuleList([GBlock(before, after, shared_dim + self.z_chunk_size)]) for before, after in widths
        )
        self.output_layer = nn.Sequential(nn.BatchNorm2d(G_ch), nn.ReLU(), nn.Conv2d(G_ch, 3, 3, padding=1))

    def forward(self, z, y):
        """y: (N, shared_dim), from `shared`."""
        zs = torch.split(z, self.z_chunk_size, 1)
        ys = [torch.cat([y, item], 1) for item in zs[1:]]
        h = self.linear(zs[0]).view(z.size(0), -1, 4, 4)
        for index, blocklist in enumerate(self.blocks):
            for block in blocklist:
                h = block(h, ys[index])
        return torch.tanh(self.output_layer(h))


class OfIds(Generator):
    """What the export asks for: forward takes the ids and makes the embedding itself."""

    def forward(self, z, y):
        return super().forward(z, self.shared(y))


class Truncated(Generator):
    """Its cousin of the model hubs: one-hot labels and a truncation that has to be given."""

    def forward(self, z, class_label, truncation):
        assert 0 < truncation <= 1
        return super().forward(z * truncation, class_label @ self.shared.weight)
