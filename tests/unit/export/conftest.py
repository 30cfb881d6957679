"""Real artifacts, exported once: `faces`, conditional and grey; `clouds`, unconditional and RGB, of uniform latents."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from intake_refusal import refusal_of
from torch import nn

from gan_export.artifact import SAMPLER, Artifact, ImageSpec, LatentSpec
from gan_export.graphs.reading import read_graph
from gan_export.graphs.signature import GraphOptions
from gan_export.package.export import Exported, export
from gan_export.sources.options import SourceOptions
from gan_export.sources.source import Source
from gan_training.nets import Generator
from gan_training.specs import GeneratorSpec

WEIGHT_SCALE = 0.3  # standard deviation: an untrained generator must use its latents and labels visibly

MODULE = """
import torch
from torch import nn

class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 192)
{init}
    def forward(self, {arguments}):
        return {result}
"""

MakeSourceFn = Callable[..., Source]
SnapshotFn = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="session", autouse=True)
def _quick(quick_exports: None) -> None:  # noqa: ARG001
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_net() -> Callable[[GeneratorSpec], nn.Module]:
    """An untrained generator with weights large enough to draw something, and BatchNorm that is no identity."""

    def make(spec: GeneratorSpec) -> nn.Module:
        torch.manual_seed(spec.image_size + spec.channels + spec.classes)
        net = Generator(spec)
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.normal_(module.weight, 0.0, WEIGHT_SCALE)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
        return net.eval()

    return make


@pytest.fixture(scope="session")
def make_source(make_net: Callable[[GeneratorSpec], nn.Module]) -> MakeSourceFn:
    """A source around a spec's generator, or around any module with that spec's signature."""

    def make(spec: GeneratorSpec, module: nn.Module | None = None, names: list[str] | None = None) -> Source:
        return Source(
            generator=module or make_net(spec),
            family="test/family",
            hyperparameters=spec.to_dict(),
            latent=LatentSpec(dim=spec.latent_dim, distribution=spec.latent, sampler=SAMPLER),
            image=ImageSpec(
                height=spec.image_size,
                width=spec.image_size,
                channels=1 if spec.channels == 1 else 3,
                mode="L" if spec.channels == 1 else "RGB",
                value_range=(-1.0, 1.0),
            ),
            class_names=names or ([f"class {i}" for i in range(spec.classes)] or None),
            sha256="0" * 64,
            weights="ema",
            training={"type": "acgan", "steps": 12},
        )

    return make


@pytest.fixture(scope="session")
def faces_spec() -> GeneratorSpec:
    return GeneratorSpec(image_size=16, channels=1, latent_dim=8, classes=3, embed_dim=4, width=4)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory, make_source: MakeSourceFn, faces_spec: GeneratorSpec) -> Exported:
    source = make_source(faces_spec, names=["cat", "Dürer", "7"])
    return export(source, "faces", tmp_path_factory.mktemp("export") / "faces")


@pytest.fixture(scope="session")
def clouds(tmp_path_factory: pytest.TempPathFactory, make_source: MakeSourceFn) -> Exported:
    spec = GeneratorSpec(image_size=20, channels=3, latent_dim=6, latent="uniform", width=4, upsample="nearest")
    return export(make_source(spec), "clouds", tmp_path_factory.mktemp("export") / "deep" / "clouds")


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Artifact], Path]:
    """A copy of an artifact that a test may damage."""

    def copy(artifact: Artifact) -> Path:
        target = tmp_path / artifact.name
        target.mkdir()
        for file in artifact.directory.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        return target

    return copy


@pytest.fixture(scope="session")
def snapshot() -> SnapshotFn:
    """Every file, link and folder below a path, hidden ones too, with the digests of their contents."""

    def take(folder: Path) -> dict[str, str]:
        found = {}
        for root, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = Path(root, name)
                key = str(path.relative_to(folder))
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        return found

    return take


@pytest.fixture(scope="session")
def run_python() -> Callable[[str], str]:
    """Run a line of Python in a fresh interpreter; returns what it printed."""

    def run(code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    return run


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, for this process and for those that it starts."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def graph_refusal(scratch: Path) -> Callable[..., str]:
    """What is said of a graph that is refused."""
    return lambda path, *limits: refusal_of(partial(read_graph, path, GraphOptions(), *limits), path, scratch, 600)


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SourceOptions]:
    """Writes model.py and its weights G.pth; gives the options to read them with."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(nn.ModuleDict({"body": nn.Linear(6, 192)}).state_dict(), "G.pth")

    def write(arguments: str = "z", result: str = "torch.tanh(self.body(z)).view(-1, 3, 8, 8)", init: str = "", **said):
        Path("model.py").write_text(MODULE.format(arguments=arguments, result=result, init=init))
        return SourceOptions(module="model.py:Generator", latent_dim=6, **said)

    return write
