"""Where Inception's weights are looked for, what is refused as weights, and what is made of features."""

import hashlib
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gan_training.cli import evaluate
from gan_training.data import ImageData
from gan_training.evaluation.evaluate import Evaluator
from gan_training.metrics import inception_net
from gan_training.metrics.features import ClassifierExtractor, extractor_for
from gan_training.metrics.frechet import frechet_distance
from gan_training.metrics.inception import InceptionExtractor
from gan_training.metrics.inception_net import (
    HASH,
    WEIGHTS_FILE,
    InceptionError,
    InceptionMissingError,
    find_weights,
    load_inception,
    read_weights,
)

CLOSE = 1e-9


@pytest.fixture
def places(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The three files that are looked for, in order; none exists yet, and the variable is not set."""
    monkeypatch.delenv("GAN_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    found = [
        tmp_path / "mine.pth",
        tmp_path / "torch/hub/checkpoints" / WEIGHTS_FILE,
        cache / WEIGHTS_FILE,
    ]
    for path in found:
        path.parent.mkdir(parents=True, exist_ok=True)
    return found


def test_weights_are_looked_for_in_the_variable_then_torch_hub_then_the_cache(
    places: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    named, hub, cache = places
    with pytest.raises(InceptionMissingError) as missing:
        find_weights()
    for words in (str(hub), str(cache), WEIGHTS_FILE, "torch-fidelity publishes", "GAN_INCEPTION_WEIGHTS"):
        assert words in str(missing.value)
    cache.touch()
    assert find_weights() == cache
    hub.touch()
    assert find_weights() == hub
    monkeypatch.setenv("GAN_INCEPTION_WEIGHTS", str(named))
    with pytest.raises(InceptionMissingError, match=r"no file \S+mine.pth; "):
        find_weights()  # whoever names a file gets no other one
    named.touch()
    assert find_weights() == named


def test_a_state_dict_is_read_as_it_was_saved(tmp_path: Path) -> None:
    state = nn.Conv2d(3, 4, 3).state_dict()
    for old_format in (False, True):
        torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=not old_format)
        found = read_weights(tmp_path / "net.pth")
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)


def test_a_file_with_the_published_name_must_have_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / WEIGHTS_FILE
    torch.save({"a": torch.ones(2)}, path)
    begins = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    with pytest.raises(InceptionError, match=f"is damaged: its SHA-256 begins with {begins}, not {HASH}; get it again"):
        read_weights(path)
    monkeypatch.setattr(inception_net, "HASH", begins)
    assert read_weights(path)["a"].tolist() == [1, 1]


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_file_that_runs_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"a": torch.ones(2), "b": Trap(sprung)}, tmp_path / "saved.pth")
    (tmp_path / "pickled.pth").write_bytes(pickle.dumps(Trap(sprung)))
    for name in ("saved.pth", "pickled.pth"):
        with pytest.raises(InceptionError, match=f"{name}: is damaged, or holds more than weights"):
            read_weights(tmp_path / name)
    assert not sprung.exists()


def test_what_is_no_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InceptionError, match=r"net\.pth: is damaged"):
        read_weights(path)
    for content in (torch.ones(2), {"a": "b"}, {"a": torch.tensor([1.0, torch.nan])}):
        torch.save(content, path)
        with pytest.raises(InceptionError, match=r"net\.pth: holds something other than finite weights"):
            read_weights(path)
    with pytest.raises(InceptionError, match=r"nothing\.pth: can't be read: No such file"):
        read_weights(tmp_path / "nothing.pth")


def test_without_the_package_it_is_one_line(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    places[2].touch()
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(
        InceptionMissingError, match=r"torch-fidelity can't be imported \(.+\); .*pip install"
    ) as missing:
        load_inception()
    assert len(str(missing.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("features", "file", "code", "words"),
    [
        ("vgg", None, 2, ["'vgg'", "'auto', 'classifier', 'inception'"]),
        ("inception", None, 1, ["no weights of Inception", WEIGHTS_FILE, "torch-fidelity publishes"]),
        ("inception", b"nonsense", 1, ["mine.pth: is damaged"]),
        ("auto", b"nonsense", 1, ["mine.pth: is damaged"]),
        ("auto", None, 2, ["unknown data source 'nowhere'"]),  # goes on with the classifier, and without a word
    ],
)
def test_gan_eval_refuses_in_one_line(
    places: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    features: str,
    file: bytes | None,
    code: int,
    words: list[str],
) -> None:
    module = "torch_fidelity.feature_extractor_inceptionv3"  # which is not gone as far as to use
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    if file is not None:
        places[0].write_bytes(file)
        monkeypatch.setenv("GAN_INCEPTION_WEIGHTS", str(places[0]))
    with pytest.raises(SystemExit) as end:
        evaluate.main(["x.npz", "--data", "nowhere", "--features", features])
    assert end.value.code == code
    (line,) = capsys.readouterr().err.splitlines()
    for word in words:
        assert word in line


class Corner(nn.Module):
    """Takes what Inception takes, and gives the first pixel's three channels for features."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        assert images.dtype == torch.uint8
        return (images[:, :, 0, 0].float(),)


class Bright(nn.Module):
    """A classifier's net: no features, and the class is whether the mean is above 127."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = images.float().mean((1, 2, 3))
        return torch.zeros(len(images), 64), torch.stack([127 - mean, mean - 127], 1)


def extractor() -> InceptionExtractor:
    return InceptionExtractor(Corner(), ClassifierExtractor(Bright(), 0.9, True))  # type: ignore[arg-type]


def test_features_are_the_nets_classes_the_classifiers() -> None:
    pixels = torch.arange(70, dtype=torch.uint8)[:, None, None, None] * 3
    told: list[tuple[int, int]] = []
    features, predicted = extractor().extract(pixels.expand(70, 1, 5, 7), lambda *done: told.append(done))
    assert torch.equal(features, pixels[:, 0, 0].float().expand(70, 3))  # grey is repeated to three channels
    assert torch.equal(predicted, (pixels.flatten() > 127).long())
    assert told == [(32, 70), (64, 70), (70, 70)]
    colours = torch.randint(0, 256, (9, 3, 6, 6), dtype=torch.uint8)
    assert torch.equal(extractor().extract(colours)[0], colours[:, :, 0, 0].float())
    assert (extractor().name, extractor().accuracy, extractor().has_classes) == ("inception", 0.9, True)


def test_frechet_distance_of_fewer_images_than_dimensions() -> None:
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randn(20, 300, generator=rng).double(), 2 * torch.randn(15, 300, generator=rng).double()
    a, b = real - real.mean(0), fake - fake.mean(0)
    # tr((C1 C2)^(1/2)) by the images' own products: (C1 C2)'s eigenvalues but zeros are those of (AB')(BA').
    products = a @ b.T / np.sqrt(19 * 14)
    roots = torch.linalg.eigvalsh(products @ products.T).clamp(min=0).sqrt().sum()
    means = (real.mean(0) - fake.mean(0)).square().sum()
    expected = float(means + a.square().sum() / 19 + b.square().sum() / 14 - 2 * roots)
    # One eigenvalue of the small matrix is 0 but for rounding, and its root keeps half of the digits.
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(real, real) == pytest.approx(0, abs=CLOSE)


def test_few_images_are_said_in_one_line() -> None:
    images = torch.randint(0, 256, (40, 1, 6, 6), dtype=torch.uint8)
    many, few = (ImageData(images[:n], torch.arange(n) % 2, ("a", "b"), "toy") for n in (40, 3))
    assert Evaluator(many, many, extractor()).rank_warning({"x.npz": 4}) == ""
    warning = Evaluator(many, few, extractor()).rank_warning({"x.npz": 2, "y.npz": 4})
    for words in ("in 3 dimensions", "fewer than 4 images (x.npz: 2, test images: 3)", "rank deficient"):
        assert words in warning


def test_without_a_home_folder_the_classifier_is_trained_and_kept_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise FileNotFoundError("no cache folder")

    monkeypatch.setattr("gan_training.metrics.features.cache_folder", none)
    monkeypatch.setattr("gan_training.metrics.inception_net.cache_folder", none)
    images = torch.randint(0, 256, (40, 1, 16, 16), dtype=torch.uint8)
    data = ImageData(images, torch.arange(40) % 2, ("a", "b"), "toy")
    found = extractor_for(data, ImageData(images, None, (), "no labels"))
    assert found.accuracy is None
    assert len(found.extract(images)[0]) == 40
    monkeypatch.setenv("TORCH_HOME", "/nowhere")
    with pytest.raises(InceptionMissingError, match="no file /nowhere/hub/checkpoints/"):
        find_weights()
