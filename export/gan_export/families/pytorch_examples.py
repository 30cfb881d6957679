"""pytorch/examples `dcgan`, and the same net in pytorch-gan-collections."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from .family import Family, ForeignNet, Landmarks


class Dcgan(ForeignNet):
    """Radford, Metz & Chintala, 2015, arXiv:1511.06434; images of 16 * kernel pixels."""

    def __init__(self, nz: int, ngf: int, nc: int, kernel: int = 4) -> None:
        super().__init__(latent_dim=nz, image_shape=(nc, 16 * kernel, 16 * kernel))
        layers: list[nn.Module] = [nn.ConvTranspose2d(nz, 8 * ngf, kernel, bias=False)]
        for wide, narrow in pairwise((8 * ngf, 4 * ngf, 2 * ngf, ngf, nc)):
            layers += [nn.BatchNorm2d(wide), nn.ReLU(), nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
        self.main = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.main(z[:, :, None, None])  # (N, nz) -> (N, nz, 1, 1) -> (N, nc, 16k, 16k)
        return image


def _infer(keys: Landmarks) -> dict[str, int]:
    nz, _, _, _ = keys.sizes("main.0.weight", 4)
    ngf, nc, _, _ = keys.sizes("main.12.weight", 4)
    return {"nz": nz, "ngf": ngf, "nc": nc}


def _infer_with_kernel(keys: Landmarks) -> dict[str, int]:
    return {**_infer(keys), "kernel": keys.sizes("main.0.weight", 4)[2]}


COMPUTES = "transposed convolutions, BatchNorm eps 1e-5, ReLU"

DCGAN = Family(
    name="pytorch-examples/dcgan",
    computes=COMPUTES,
    net=Dcgan,
    infer=_infer,
    typical={"nz": 100, "ngf": 64, "nc": 3},
)
COLLECTIONS_DCGAN = Family(
    name="pytorch-gan-collections/dcgan",
    computes=COMPUTES,
    net=Dcgan,
    infer=_infer_with_kernel,
    typical={"nz": 100, "ngf": 64, "nc": 3, "kernel": 2},
)
