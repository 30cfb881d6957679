"""gan-export on generators of other people's: their model files, their ways of saving, their way of drawing."""

import argparse
import copy
import runpy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gan_export.artifact import load_artifact, open_session, run_session
from gan_export.cli.export import main

pytestmark = pytest.mark.slow

STRANGERS = Path(__file__).parent / "strangers"
TOLERANCE = 1e-4  # of pixels on [-1, 1]
IMAGES = 7

Draw = Callable[[nn.Module, Tensor, Tensor], Any]


@dataclass(frozen=True)
class Stranger:
    """Somebody's generator: where it is, how its author makes, saves and calls it, and what a stranger must say."""

    module: str
    latent: int
    draw: Draw  # as its author would: z (N, D), ids (N,) -> (N, C, H, W) on [-1, 1]
    save: Callable[[nn.Module, Path], None]
    options: str
    classes: int = 0
    init: Mapping[str, Any] = field(default_factory=dict)


def make(stranger: Stranger) -> nn.Module:
    """Its net with weights that draw something, after a few steps in train mode."""
    torch.manual_seed(1)
    file, name = stranger.module.split(":")
    net: nn.Module = runpy.run_path(str(STRANGERS / file))[name](**copy.deepcopy(dict(stranger.init)))
    for key, value in net.named_parameters():
        if value.ndim > 1 and "weight_g" not in key:
            nn.init.normal_(value, 0.0, 1.5 * value[0].numel() ** -0.5 if value.ndim == 2 else 0.25)
    return train_a_little(net, stranger)


def train_a_little(net: nn.Module, stranger: Stranger) -> nn.Module:
    """Statistics of BatchNorm and vectors of spectral norm settle."""
    for _ in range(4):
        with torch.no_grad():
            stranger.draw(net.train(), *inputs_of(stranger, 16))
    return net.eval()


def inputs_of(stranger: Stranger, n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, stranger.latent), torch.arange(n) % max(1, stranger.classes)


def maps(x: Tensor) -> Tensor:
    """(N, D) -> (N, D, 1, 1)"""
    return x[:, :, None, None]


def discriminator() -> dict[str, Tensor]:
    return {"main.0.weight": torch.randn(4, 3, 4, 4), "main.0.bias": torch.randn(4)}


def adam(net: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999))
    sum(parameter.sum() for parameter in net.parameters()).backward()
    optimizer.step()
    return optimizer.state_dict()


def another(net: nn.Module) -> nn.Module:
    """The same net with other weights: what it was some steps later."""
    later = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in later.parameters():
            parameter.mul_(0.8)
    return later


def legacy(net: nn.Module, path: Path) -> None:
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)


def parallel_with_optimizer(net: nn.Module, path: Path) -> None:
    content = {
        "epoch": 12,
        "generator": nn.DataParallel(net).state_dict(),
        "discriminator": discriminator(),
        "optimizer_G": adam(copy.deepcopy(net)),
        "args": argparse.Namespace(lr=2e-4, dataset="mnist", cuda=True),
    }
    torch.save(content, path)


def lightning(net: nn.Module, path: Path) -> None:
    state = {f"generator.{key}": value for key, value in net.state_dict().items()}
    state |= {f"discriminator.{key}": value for key, value in discriminator().items()}
    torch.save({"epoch": 3, "global_step": 99, "state_dict": state, "optimizer_states": [adam(net)]}, path)


def with_average(net: nn.Module, path: Path) -> None:
    """`g_ema` is the net that is looked for, `g` another."""
    args = argparse.Namespace(size=16, batch=8, path="data", mixing=0.9)
    content = {"g": another(net).state_dict(), "d": discriminator(), "g_ema": net.state_dict()}
    torch.save({**content, "g_optim": adam(copy.deepcopy(net)), "args": args, "ada_aug_p": 0.0}, path)


def trainer(net: nn.Module, path: Path) -> None:
    """A whole trainer's state dict: generator G, discriminator D, average GE."""
    nets = {"G": another(net).state_dict(), "D": discriminator(), "GE": net.state_dict()}
    state = {f"{name}.{key}": value for name, net_state in nets.items() for key, value in net_state.items()}
    torch.save({"GAN": state, "version": "0.20.7", "G_scaler": {"scale": 65536.0}}, path)


def compiled(net: nn.Module, path: Path) -> None:
    torch.save({"netG": torch.compile(net).state_dict(), "netD": discriminator(), "params": {"lr": 1e-3}}, path)


def averaged_model(net: nn.Module, path: Path) -> None:
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    average.update_parameters(net)
    torch.save({"G": average.state_dict()}, path)


def half(net: nn.Module, path: Path) -> None:
    net.half().float()  # the author draws with what was saved, too
    torch.save({"model": copy.deepcopy(net).half().state_dict()}, path)


def safe(net: nn.Module, path: Path) -> None:
    save_file(net.state_dict(), path.with_suffix(".safetensors"))


def bare(net: nn.Module, path: Path) -> None:
    torch.save(net.state_dict(), path)


STRANGER = {
    "one-hot maps": Stranger(
        "onehot_maps.py:generator",
        10,
        lambda net, z, y: net(maps(z), maps(F.one_hot(y, 3).float())),
        legacy,
        "--latent 10 --classes 3 --init d=4",
        classes=3,
        init={"d": 4},
    ),
    "label first": Stranger(
        "label_first.py:CGenerator",
        9,
        lambda net, z, y: net(y, z).unsqueeze(1),
        parallel_with_optimizer,
        "--latent 9 --classes 4 --init opt.img_size=12 --init opt.n_classes=4 --init opt.latent_dim=9",
        classes=4,
        init={"opt": argparse.Namespace(img_size=12, n_classes=4, latent_dim=9)},
    ),
    "flat sigmoid": Stranger(
        "flat_sigmoid.py:Generator",
        10,
        lambda net, z, _: net(z).view(-1, 1, 14, 14) * 2 - 1,
        safe,
        "--latent 10 --image-shape 1,14,14",
    ),
    "self-attention": Stranger(
        "attention.py:Generator",
        12,
        lambda net, z, y: net(z, y),
        averaged_model,
        "--latent 12 --classes 5 --init z_dim=12 --init g_conv_dim=8 --init num_classes=5",
        classes=5,
        init={"z_dim": 12, "g_conv_dim": 8, "num_classes": 5},
    ),
    "progressive": Stranger(
        "progressive.py:Generator",
        16,
        lambda net, z, _: net(maps(z), 1.0, 2),
        lightning,
        # ONNX Runtime's mean over channels rounds otherwise for a single image.
        "--latent 16 --init z_dim=16 --init in_channels=8",
        init={"z_dim": 16, "in_channels": 8},
    ),
    "style-based": Stranger(
        "style_based.py:Generator",
        16,
        lambda net, z, _: net(z)[0],
        with_average,
        "--latent 16 --init size=16 --init style_dim=16 --init n_mlp=2",
        init={"size": 16, "style_dim": 16, "n_mlp": 2},
    ),
    "channels last": Stranger(
        "channels_last.py:Generator",
        12,
        lambda net, z, _: net(z).permute(0, 3, 1, 2),
        half,
        "--latent 12",
    ),
    "shared embedding": Stranger(
        "shared_embedding.py:OfIds",
        12,
        lambda net, z, y: net(z, y),
        bare,
        "--latent 12 --classes 5",
        classes=5,
    ),
    "skip layers": Stranger(
        "skip_layers.py:Generator",
        16,
        lambda net, z, _: net(z),
        trainer,
        "--latent 16 --init image_size=16",
        init={"image_size": 16},
    ),
    "information": Stranger(
        "information.py:Generator",
        14,
        lambda net, z, _: net(maps(z)) * 2 - 1,
        compiled,
        "--latent 14",
    ),
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def gan_export(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def compare(folder: Path, stranger: Stranger, net: nn.Module) -> None:
    """The artifact's images are those of the author's own call."""
    z, label = inputs_of(stranger, IMAGES)
    with torch.no_grad():
        expected = stranger.draw(net, z, label).numpy()
    session = open_session(load_artifact(folder))
    image, pixels = run_session(session, z.numpy(), label.numpy() if stranger.classes else None, pixels=True)
    assert pixels.shape == expected.shape
    assert expected.std() > 0.05  # it draws something
    assert np.abs(pixels - expected).max() <= TOLERANCE
    assert np.abs(image - (expected + 1) * 127.5).max() <= 0.5 + 127.5 * TOLERANCE


@pytest.mark.parametrize("case", STRANGER)
def test_the_artifact_draws_what_the_authors_own_code_draws(case: str, capsys: pytest.CaptureFixture[str]):
    stranger = STRANGER[case]
    net = make(stranger)
    stranger.save(net, Path("weights.pth"))
    (weights,) = Path().glob("weights.*")
    code = gan_export(weights, "--module", STRANGERS / stranger.module, *stranger.options.split())
    assert code == 0, capsys.readouterr().err
    compare(Path("models/weights"), stranger, net)
    averaged = stranger.save in (with_average, trainer, averaged_model)
    assert load_artifact(Path("models/weights")).manifest.provenance.weights == ("ema" if averaged else "raw")


def test_raw_weights_are_the_other_net_of_the_file(capsys: pytest.CaptureFixture[str]):
    stranger = STRANGER["flat sigmoid"]
    net = make(stranger)
    for name, save in (("average", with_average), ("trainer", trainer)):
        save(net, Path(f"{name}.pth"))
        given = ("--module", STRANGERS / stranger.module, *stranger.options.split(), "--weights", "raw")
        assert gan_export(f"{name}.pth", *given) == 0, capsys.readouterr().err
        compare(Path("models", name), stranger, another(net))
        assert load_artifact(Path("models", name)).manifest.provenance.weights == "raw"
