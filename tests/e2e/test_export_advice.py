"""gan-export as somebody meets it who knows nothing: what each line asks for, and that giving it works."""

import json
import runpy
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from gan_export.artifact import Artifact, load_artifact, open_session, run_session
from gan_export.cli.export import main
from gan_export.families import find_family

pytestmark = pytest.mark.slow

STRANGERS = Path(__file__).parent / "strangers"
TOLERANCE = 1e-4  # of pixels on [-1, 1]

ExportFn = Callable[..., str]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    torch.manual_seed(4)


@pytest.fixture
def gan_export(capsys: pytest.CaptureFixture[str]) -> ExportFn:
    """Run it; returns the one line of a refusal, or what a success prints."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        if not caught.value.code:
            return told.out
        assert (caught.value.code, told.out) == (1, "")
        assert told.err.count("\n") == 1, told.err
        assert not Path("models").exists()
        return told.err.removeprefix("gan-export: ")

    return run


def save(net: nn.Module, name: str = "G.safetensors") -> str:
    """With weights that draw something."""
    torch.manual_seed(2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for value in net.parameters():
        if value.ndim > 1:
            nn.init.normal_(value, 0.0, 1.5 * value[0].numel() ** -0.5)
    save_file(net.eval().state_dict(), name)
    return name


def stranger(module: str, **init: object) -> tuple[nn.Module, str]:
    """A net of `strangers`, and what to give to --module."""
    file, name = module.split(":")
    return runpy.run_path(str(STRANGERS / file))[name](**init), f"{STRANGERS / file}:{name}"


def pixels_of(artifact: Artifact, z: torch.Tensor, label: torch.Tensor | None = None) -> np.ndarray:
    labels = None if label is None else label.numpy()
    return run_session(open_session(artifact), z.numpy(), labels, pixels=True)[1]


def test_a_file_alone_and_then_what_is_asked_for(gan_export: ExportFn):
    net, module = stranger("flat_sigmoid.py:Generator")
    given = [save(net)]
    assert "no known family has keys like 'gen.0.0." in (line := gan_export(*given))
    assert "; give --module FILE.py:CLASS --latent D\n" in line
    given += ["--module", module]
    assert "needs the latent dimension: give --latent D\n" in gan_export(*given)
    assert "(5x12 and 10x16)" in (line := gan_export(*given, "--latent", 12))
    assert "Check --latent." in line
    given += ["--latent", "10"]
    assert "--image-shape C,H,W (the square one is 1,14,14)" in gan_export(*given)
    printed = gan_export(*given, "--image-shape", "1,14,14")
    assert "latents (N, 10) -> images (N, 1, 14, 14 from FLAT) on [0, 1]." in printed
    z = torch.randn(4, 10)
    with torch.no_grad():
        expected = net(z).reshape(4, 1, 14, 14).numpy() * 2 - 1
    assert np.abs(pixels_of(load_artifact(Path("models/G")), z) - expected).max() <= TOLERANCE


def test_a_namespace_of_options_is_asked_for_one_by_one(gan_export: ExportFn):
    net, module = stranger("label_first.py:CGenerator", opt=Namespace(img_size=12, n_classes=4, latent_dim=9))
    given = [save(net), "--module", module, "--latent", 9]
    assert "CGenerator needs opt: give --init opt.NAME=VALUE for each option in it" in gan_export(*given)
    given += ["--init", "opt.img_size=12"]
    assert "give --init opt.n_classes=VALUE; " in gan_export(*given)
    given += ["--init", "opt.n_classes=5"]
    assert "give --init opt.latent_dim=VALUE; " in gan_export(*given)
    given += ["--init", "opt.latent_dim=9"]
    assert "has shape (4, 6), not (5, 6)" in (line := gan_export(*given))
    assert "its arguments are given with --init: its signature is CGenerator(opt)" in line
    given += ["--init", "opt.n_classes=4"]
    assert "It seems to take labels: give --classes K." in gan_export(*given)


UNUSUAL = {
    # module, latent, classes, what is said of it, and the subclass that it asks for
    "latents and labels joined": (
        *("onehot_maps.py:Joined", 10, 3),
        "forward(noise_and_labels) takes no label: leave out --classes, or, if latents and labels are joined before",
        "super().forward(torch.cat([z, F.one_hot(label, 3)], 1)[:, :, None, None])",
    ),
    "three arguments": (
        *("information.py:ThreeParts", 11, 3),
        "It needs 3 arguments, but only latents and labels are passed: give the others with --forward code=VALUE, or "
        "write a subclass",
        "super().forward(z[:, :9], F.one_hot(label, 3), z[:, 9:])",
    ),
    "a truncation": (
        *("shared_embedding.py:Truncated", 12, 5),
        "give the others with --forward truncation=VALUE, or write a subclass",
        "super().forward(z, F.one_hot(label, 5).float(), 0.5)",
    ),
    "embedded labels": (
        *("shared_embedding.py:Generator", 12, 5),
        "if its labels are neither ids nor one-hot, write a subclass whose forward(self, z, label) takes ids",
        "super().forward(z, self.shared(label))",
    ),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_what_can_not_be_called_is_said_in_one_line_and_a_subclass_helps(case: str, gan_export: ExportFn):
    module, latent, classes, line, result = UNUSUAL[case]
    net, path = stranger(module)
    given = [save(net), "--latent", latent, "--classes", classes, "--module"]
    told = gan_export(*given, path)
    assert line in told
    assert len(told) < 700
    file, base = module.split(":")
    shutil.copy(STRANGERS / file, ".")
    Path("mine.py").write_text(
        f"import torch\nimport torch.nn.functional as F\nfrom {file.removesuffix('.py')} import {base}\n\n"
        f"class Mine({base}):\n    def forward(self, z, label):\n        return {result}\n"
    )
    # With random weights the net of embedded labels amplifies PyTorch's own rounding to 1.2e-4 (against float64).
    assert "models/G; next: GAN_MODELS=models/G bentoml serve" in gan_export(
        *given, "mine.py:Mine", "--tolerance", 1e-3
    )
    z, label = torch.randn(4, latent), torch.arange(4) % classes
    mine = runpy.run_path("mine.py")["Mine"]()
    mine.load_state_dict(net.state_dict())
    with torch.no_grad():
        expected = mine.eval()(z, label).numpy()
    pixels = pixels_of(load_artifact(Path("models/G")), z, label)
    assert np.abs(pixels - (expected * 2 - 1 if module.startswith("information") else expected)).max() <= TOLERANCE


FAMILIES = {
    # settings of its net, what a bare run says, what has to be given beside --family
    "pytorch-examples/dcgan": (
        {"nz": 7, "ngf": 4, "nc": 3},
        "pytorch-examples/dcgan or pytorch-gan-collections/dcgan (the same generator): z 7 -> 3x64x64; ",
        [],
    ),
    "pytorch-gan/cgan": (
        {"latent_dim": 9, "values": 75, "n_classes": 3, "image_shape": (3, 5, 5)},
        "pytorch-gan/cgan: z 9, label 0..2 -> an image; ",
        ["--image-shape", "3,5,5"],
    ),
    "mimicry/dcgan-cifar": (
        {"nz": 5, "ngf": 4},
        "mimicry/dcgan-cifar: z 5 -> 3x32x32; residual blocks, bilinear upsampling, BatchNorm eps 1e-5, ReLU, sigmoid",
        [],
    ),
    "pytorch-gan/acgan": (
        {"latent_dim": 6, "img_size": 16, "channels": 1, "n_classes": 4},
        "the images would differ: give --family NAME",
        [],
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_of_a_known_repository(name: str, gan_export: ExportFn):
    settings, line, answer = FAMILIES[name]
    family = find_family(name)
    net = family.net(**settings)
    given = [save(net)]
    told = gan_export(*given)
    assert line in told
    assert "--family NAME" in told
    given += ["--family", name]
    if answer:
        assert f"give {answer[0]}" in gan_export(*given)
    printed = gan_export(*given, *answer)
    artifact = load_artifact(Path("models/G"))
    caveat = f"Keys and shapes of the weights are those of {name}; that they were trained with its code"
    assert caveat in printed
    assert caveat in (artifact.directory / "README.md").read_text()
    z, label = torch.rand(4, net.latent_dim) * 2 - 1, torch.arange(4) % net.classes if net.classes else None
    with torch.no_grad():
        expected = (net(z) if label is None else net(z, label)).numpy()
    if family.ends_in == "sigmoid":
        expected = expected * 2 - 1
    assert np.abs(pixels_of(artifact, z, label) - expected).max() <= TOLERANCE
    assert artifact.manifest.family == name
    assert (expected.min() < -0.3, expected.max() > 0.3) == (True, True)


def test_the_store_and_the_same_bytes_twice(run_command: Callable[..., subprocess.CompletedProcess[str]]):
    """As processes: BentoML reads its home once."""
    net, module = stranger("flat_sigmoid.py:Generator")
    options = (save(net, "Mine.safetensors"), "--module", module, "--latent", 10, "--image-shape", "1,14,14")
    home, here = Path("home").resolve(), Path().resolve()
    Path("nohome").write_text("a file in the way")
    artifacts = []
    for out in ("first", "second"):
        done = run_command("gan-export", *options, "--out", out, "--store", cwd=here, env={"BENTOML_HOME": str(home)})
        assert done.returncode == 0, done.stderr
        artifacts.append(load_artifact(Path(out)))
    first, second = ({p.name: p.read_bytes() for p in a.directory.iterdir()} for a in artifacts)
    for file in ("generator.onnx", "golden.npz", "preview.png", "certificate.json"):
        assert first[file] == second[file]
    manifests = [json.loads(files["manifest.json"]) for files in (first, second)]
    for manifest in manifests:
        assert manifest["variants"][0].pop("images_per_second")
    assert manifests[0] == manifests[1]

    versions = [folder for folder in (home / "models" / "mine").iterdir() if folder.is_dir()]
    assert len(versions) == 2
    assert f"in BentoML's model store as mine:{done.stdout.rpartition('mine:')[2].split()[0]}\n" in done.stdout
    stored = home / "models" / "mine" / done.stdout.rpartition("mine:")[2].split()[0]
    about = yaml.safe_load((stored / "model.yaml").read_text())
    assert about["labels"] == {"family": "module-Generator", "weights": "raw", "kind": "ganworks-artifact"}
    assert about["metadata"] == {"name": "Mine"}
    assert {p.name: p.read_bytes() for p in stored.iterdir() if p.name != "model.yaml"} == second

    done = run_command(
        "gan-export", *options, "--out", "third", "--store", cwd=here, env={"BENTOML_HOME": str(here / "nohome")}
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "gan-export: --store: BentoML's model store can't be opened: " in done.stderr
    assert not Path("third").exists()

    other = (*options[1:], "--name", "mine", "--out", "third", "--store")
    done = run_command("gan-export", "nowhere.pt", *other, cwd=here, env={"BENTOML_HOME": str(home)})
    assert (done.returncode, done.stdout) == (1, "")
    assert "'mine' has the tag 'mine' in BentoML's model store, which holds the generator 'Mine'" in done.stderr
