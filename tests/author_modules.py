"""Generators of one layer, as their authors want them called and as they hand out their images."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_export.calling.adapter import Convention
from gan_export.calling.convention_search import Asked, find_convention

Z, K, SIZE = 8, 4, 6
PIXELS = SIZE * SIZE


class Net(nn.Module):
    """Layers that the variants below use."""

    def __init__(self, inputs: int = Z, outputs: int = PIXELS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(inputs, outputs)
        self.embedding = nn.Embedding(K, Z)
        self.up = nn.ConvTranspose2d(inputs, 1, SIZE)

    def draw(self, x: Tensor) -> Tensor:
        return torch.tanh(self.fc(x)).view(-1, 1, SIZE, SIZE)


class Flat(Net):
    def forward(self, z):
        return self.draw(z)


class Map(Net):
    def forward(self, input):
        return torch.tanh(self.up(input))


class Either(Net):
    def forward(self, z):
        return self.draw(z.view(z.size(0), -1))


class Ids(Net):
    def forward(self, noise, labels):
        return self.draw(noise * self.embedding(labels))


class IdsFirst(Net):
    def forward(self, labels, noise):
        return self.draw(noise * self.embedding(labels))


class NamelessIdsFirst(Net):
    def forward(self, a, b):
        return self.draw(b * self.embedding(a))


class OneHot(Net):
    def __init__(self):
        super().__init__(Z + K)

    def forward(self, z, y):
        return self.draw(torch.cat([z, y], 1))


class NamelessOneHot(OneHot):
    def forward(self, a, b):
        return self.draw(torch.cat([a, b], 1))


class OneHotMap(Net):
    def __init__(self):
        super().__init__(Z + K)

    def forward(self, input, label):
        return torch.tanh(self.up(torch.cat([input, label], 1)))


class MixedMap(OneHotMap):
    def forward(self, z, label):
        return torch.tanh(self.up(torch.cat([z[:, :, None, None], label[:, :, None, None]], 1)))


class Keyword(Net):
    def forward(self, z, truncation=1.0, *, class_labels=None):
        return self.draw(z * truncation * self.embedding(class_labels))


class LabelMayBeNone(Net):
    def forward(self, z, c, truncation_psi=1):
        return self.draw(z * truncation_psi if c is None else z * self.embedding(c))


class Truncated(Net):
    def forward(self, z, truncation_psi=1.0):
        return self.draw(z * truncation_psi)


class Deaf(Net):
    def forward(self, z, label):  # noqa: ARG002
        return self.draw(z)


class BothWays(Net):
    """Takes ids as numbers and one-hot labels alike, with different images."""

    def forward(self, z, label):
        hint = label.float() if label.ndim == 2 else F.one_hot(label, K).flip(1).float()
        return self.draw(z + torch.cat([hint, hint * 2], 1))


class Squeezing(Net):
    def forward(self, z):
        return torch.tanh(self.fc(z.squeeze())).view(-1, 1, SIZE, SIZE)


@dataclass
class Sample:
    logits: Tensor
    image: Tensor


class AsDataclass(Flat):
    def forward(self, z):
        return Sample(z, super().forward(z))


class AsTuple(Flat):
    def forward(self, z):
        return z.mean(), [z, super().forward(z)]


class AsDict(Flat):
    def forward(self, z):
        return {"w": z, "sample": super().forward(z)}


class AsList(Net):
    def forward(self, z):
        return [self.draw(z)]


class Grey(Flat):
    def forward(self, z):
        return super().forward(z)[:, 0]


class Row(Net):
    def forward(self, z):
        return torch.tanh(self.fc(z))


class Last(Net):
    def __init__(self):
        super().__init__(Z, 3 * PIXELS)

    def forward(self, z):
        return torch.tanh(self.fc(z)).view(-1, SIZE, SIZE, 3)


class Cast(Net):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, z):
        pixels = self.draw(z)
        return (pixels * 127.5 + 127.5 if self.dtype in (torch.uint8, torch.int64) else pixels).to(self.dtype)


class Shaped(Net):
    def __init__(self, *shape: int) -> None:
        super().__init__(outputs=math.prod(shape))
        self.shape = shape

    def forward(self, z):
        return torch.tanh(self.fc(z)).view(-1, *self.shape)


def called(net: nn.Module, classes: int, **asked: object) -> Convention:
    return find_convention(net.eval(), Z, classes, Asked(**asked))


class Plain(nn.Module):
    """What generators that do something unusual in forward begin with."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(Z, 64)

    def pixels(self, z: Tensor) -> Tensor:
        return torch.tanh(self.layer(z)).view(-1, 1, 8, 8)

    def forward(self, z: Tensor) -> Tensor:
        return self.pixels(z)


def freed(*shape: int) -> Tensor:
    """A tensor whose values are gone, as sharded training leaves them."""
    tensor = torch.ones(shape)
    tensor.untyped_storage().resize_(0)
    return tensor
