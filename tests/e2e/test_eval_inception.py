"""gan-eval in Inception's features: torch-fidelity's own net with random weights, through the real command.

torch-fidelity is installed without torchvision, which its import asks for; a package with the names that it takes
from there, and nothing in them, stands in. Nothing is downloaded.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torchvision_stand_in import with_torchvision

pytestmark = pytest.mark.slow

SAME_FEATURES = 1e-5  # of the largest: batches of other sizes
SAME_DISTANCE = 1e-4  # relative, from those features
TRAIN, TEST, FAKE = 8, 4, 4  # images: Inception takes a quarter of a second for each
PROGRAM = """
import numpy as np, torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Inception
from gan_training.data import load_data
from gan_training.metrics import features
from gan_training.metrics.features import ClassifierExtractor, FeatureNet
from gan_training.metrics.inception import InceptionExtractor
from gan_training.metrics.inception_net import load_inception

class Untrained(Inception):
    def load_state_dict(self, *_): pass

torch.manual_seed(0)
torch.save({}, "empty.pth")
net = Untrained("untrained", ["2048"], feature_extractor_weights_path="empty.pth")
for module in net.modules():
    if isinstance(module, torch.nn.Conv2d):
        torch.nn.init.kaiming_normal_(module.weight)  # the features stay of the size of the pixels
torch.save(net.state_dict(), "weights.pth")

theirs = Inception("theirs", ["2048"], feature_extractor_weights_path="weights.pth")
sets = {name: torch.from_numpy(np.load(name + ".npz")["images"])[:, None] for name in ("train", "test", "fake")}
found = {name: theirs(images.repeat(1, 3, 1, 1))[0] for name, images in sets.items()}
colours = torch.randint(0, 256, (2, 3, 24, 24), dtype=torch.uint8)
features.STEPS = 10  # the cached classifier need not be good, only be the one that every run finds
train = load_data("npz:train.npz")
net = load_inception()
grey = InceptionExtractor(net, features.extractor_for(train, train))
rgb = InceptionExtractor(net, ClassifierExtractor(FeatureNet(24, 3, 2).eval(), 1.0, True))
np.savez("features.npz", **found, ours=grey.extract(sets["fake"][:2])[0],
         colours=theirs(colours)[0], our_colours=rgb.extract(colours)[0])
"""

RunFn = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Everything that is looked up lies in one new folder; torch_fidelity can be imported."""
    folder = tmp_path_factory.mktemp("inception")
    places = {"GAN_CACHE": folder / "cache", "TORCH_HOME": folder / "torch"}
    named = {"GAN_INCEPTION_WEIGHTS": folder / "weights.pth"}
    return {
        "PYTHONPATH": with_torchvision(folder / "stand-in"),
        **{name: str(path) for name, path in (places | named).items()},
    }


@pytest.fixture(scope="module")
def work(env: dict[str, str]) -> Path:
    """Blobs in two classes, the weights, and torch-fidelity's own features of the blobs."""
    folder = Path(env["GAN_INCEPTION_WEIGHTS"]).parent
    rng = np.random.default_rng(0)
    for name, n, shade in (("train", TRAIN, 120), ("test", TEST, 120), ("fake", FAKE, 90)):
        labels = np.arange(n) % 2
        images = rng.integers(0, 100, (n, 16, 16)) + labels[:, None, None] * shade
        np.savez(folder / f"{name}.npz", images=images.astype(np.uint8), labels=labels)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


ASK = ("fake.npz", "--data", "npz:train.npz", "--test-data", "npz:test.npz")


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance by the images' own products, for fewer images than dimensions."""
    x, y = (((rows - rows.mean(0)) / np.sqrt(len(rows) - 1)).astype(np.float64) for rows in (a, b))
    roots = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * roots)


def test_distances_are_measured_in_torch_fidelitys_own_features(
    work: Path, env: dict[str, str], run_command: RunFn
) -> None:
    found = np.load(work / "features.npz")
    size = np.abs(found["fake"]).max()
    assert size > 0
    assert found["fake"].shape == (FAKE, 2048)
    assert np.abs(found["ours"] - found["fake"][:2]).max() < SAME_FEATURES * size
    assert np.abs(found["our_colours"] - found["colours"]).max() < SAME_FEATURES * np.abs(found["colours"]).max()

    done = run_command("gan-eval", *ASK, "--json", "--page", "page.html", cwd=work, env=env)  # auto
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["features"] == "inception"
    assert result["frechet_distance"] == pytest.approx(distance(found["train"], found["fake"]), rel=SAME_DISTANCE)
    assert result["real_frechet_distance"] == pytest.approx(distance(found["train"], found["test"]), rel=SAME_DISTANCE)
    warning, page = done.stderr.splitlines()
    assert page == "page.html"
    assert result["notes"] == [warning.removeprefix("gan-eval: ")]
    for words in ("2,048 dimensions", "fewer than 2,049", "fake.npz: 4, training images: 8, test images: 4"):
        assert words in warning
        assert words in (work / "page.html").read_text()
    assert "features of Inception, classes of a classifier" in (work / "page.html").read_text()

    # Named weights that are not there: auto says that it takes the classifier.
    missing = {"GAN_INCEPTION_WEIGHTS": "elsewhere.pth"}
    small = run_command("gan-eval", *ASK, "--json", cwd=work, env=env | missing)
    assert small.returncode == 0, small.stderr
    (other,) = json.loads(small.stdout)
    assert "measuring with the classifier: no weights of Inception: no file elsewhere.pth" in small.stderr
    assert other["notes"][0].startswith("measuring with the classifier: no weights of Inception")
    assert other["features"] == "classifier"
    assert other["frechet_distance"] != pytest.approx(result["frechet_distance"], rel=0.1)
    for name in ("class_agreement", "real_class_agreement", "class_shares", "memorisation_ratio"):
        assert other[name] == result[name]
    assert not (work / "torch").exists()  # nothing was downloaded
