"""gan-eval as a user calls it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

RunFn = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, run_command: RunFn) -> Path:
    """Bright and dark discs in two classes, an npz of other such images, one of noise, and a tiny checkpoint."""
    folder = tmp_path_factory.mktemp("eval")
    for name, seed, n in (("three", 4, 3), ("real", 0, 400), ("others", 1, 200)):
        images, labels = discs(n, seed)
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
    np.savez(folder / "large.npz", images=images.repeat(2, axis=1).repeat(2, axis=2), labels=labels)
    rng = np.random.default_rng(2)
    np.savez(folder / "noise.npz", images=rng.integers(0, 256, (200, 16, 16), np.uint8), labels=np.zeros(200, np.int64))
    train = ("gan-train", "--type", "cgan", "--data", "npz:real.npz", "--out", "run", "--steps", 5)
    done = run_command(*train, "--set", "generator_width=8", "--set", "critic_width=8", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "artifact").mkdir()
    (folder / "artifact" / "manifest.json").write_text("{}")
    return folder


def discs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:16, :16]
    labels = np.arange(n) % 2
    centres, radii = rng.uniform(6, 10, (n, 2, 1, 1)), rng.uniform(3, 6, (n, 1, 1))
    inside = (rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 < radii**2
    noise = rng.integers(0, 40, (n, 16, 16))
    return np.where(inside == labels[:, None, None], 215, 0).astype(np.uint8) + noise.astype(np.uint8), labels


def test_real_images_score_better_than_noise_and_an_untrained_net(work: Path, run_command: RunFn) -> None:
    env = {"GAN_CACHE": str(work / "cache")}
    sets = ("others.npz", "noise.npz", "run/ckpt.pt", "large.npz")
    ask = ("--data", "npz:real.npz", "--n", 200, "--features", "classifier")
    done = run_command("gan-eval", *sets, *ask, "--json", "--page", "page.html", cwd=work, env=env)
    assert done.returncode == 0, done.stderr
    others, noise, untrained, large = json.loads(done.stdout)
    note = (
        "npz:large.npz: 32x32 images were made 16x16 grey (cropped, Lanczos), as those of npz:real.npz are; the "
        "figures are of what that left"
    )
    seen = (
        "run/ckpt.pt: was trained on npz:real.npz whole, the tenth too that real images are taken from, so its figures "
        "may be better than on new images; give --test-data that it has not seen"
    )
    assert done.stderr.splitlines() == [f"gan-eval: {seen}", f"gan-eval: {note}", "page.html"]
    assert others["notes"] == large["notes"] == [seen, note]
    page = (work / "page.html").read_text()
    assert f"<strong>Note:</strong> {note}." in page
    assert f"<code>{others['classifier']}</code>" in page
    assert len({one["classifier"] for one in (others, noise, untrained, large)}) == 1
    assert 0.5 < large["recall"] < others["recall"], "resizing takes the noise away"
    assert others["features"] == "classifier"
    assert others["class_agreement"] > 0.98
    assert others["real_class_agreement"] > 0.98
    assert others["precision"] > 0.6
    assert others["recall"] > 0.6
    for bad in (noise, untrained):
        assert bad["frechet_distance"] > 10 * others["frechet_distance"]
        assert bad["precision"] < 0.2
    assert sum(noise["class_shares"]) == pytest.approx(1)
    assert (work / "page.html").read_text().count("data:image/png;base64,") == 1 + 2 * 4
    (cached,) = (work / "cache").glob("ruler-*.pt")
    stamp = cached.stat().st_mtime_ns

    (work / "others[").mkdir()
    odd = (work / "others.npz").rename(work / "others[" / "b]:one:.npz")  # no markup, no emoji
    terminal = env | {"FORCE_COLOR": "1", "COLUMNS": "160"}
    one = (odd.relative_to(work), *ask, "--neighbours", "pairs.png")
    again = run_command("gan-eval", *one, cwd=work, env=terminal)
    odd.rename(work / "others.npz")
    with Image.open(work / "pairs.png") as picture:
        assert picture.size == (8 * 18 + 2, 2 * 18 + 2), "four pairs of each class"
    assert again.returncode == 0, again.stderr
    assert "\x1b" not in again.stderr, "a file, whose cursor nothing hides"
    assert cached.stat().st_mtime_ns == stamp, "the second evaluation trained the classifier again"
    for word in ("frechet_distance", "others[/b]:one:.npz", "real images", others["classifier"]):
        assert word in again.stdout


def test_test_images_that_are_training_images_are_told(work: Path, run_command: RunFn) -> None:
    ask = ("others.npz", "--data", "npz:real.npz", "--n", 100, "--features", "classifier", "--json")
    env = {"GAN_CACHE": str(work / "cache")}
    done = run_command("gan-eval", *ask, "--test-data", "npz:real.npz", cwd=work, env=env)
    (found,) = json.loads(done.stdout, parse_constant=pytest.fail)
    assert found["memorisation_ratio"] > 0.5, "of the samples, which are new"
    (line,) = done.stderr.splitlines()
    assert line == f"gan-eval: {found['notes'][0]}"
    assert line.startswith("gan-eval: 400 of the 400 test images (npz:real.npz) are training images (npz:real.npz) too")
    held_out = run_command("gan-eval", *ask, "--test-data", "npz:others.npz", cwd=work, env=env)
    assert held_out.stderr == ""
    asked = ("run/ckpt.pt", *ask[1:], "--test-data", "npz:others.npz")
    assert run_command("gan-eval", *asked, cwd=work, env=env).stderr == "", "images that it has not seen"


def test_real_images_that_are_all_alike_have_no_diversity_to_compare_with(work: Path, run_command: RunFn) -> None:
    np.savez(work / "alike.npz", images=np.full((60, 16, 16), 7, np.uint8))
    np.savez(work / "drawn.npz", images=np.random.default_rng(0).integers(0, 256, (60, 16, 16), dtype=np.uint8))
    ask = ("drawn.npz", "--data", "npz:alike.npz", "--features", "classifier")
    env = {"GAN_CACHE": str(work / "cache")}
    done = run_command("gan-eval", *ask, "--json", cwd=work, env=env)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout, parse_constant=pytest.fail)
    assert found["diversity"] is None
    assert "nan" not in run_command("gan-eval", *ask, cwd=work, env=env).stdout


def test_real_images_are_brought_to_the_checkpoints_size(work: Path, run_command: RunFn) -> None:
    ask = ("--data", "npz:large.npz", "--n", 40, "--features", "classifier", "--json")
    done = run_command("gan-eval", "run/ckpt.pt", *ask, cwd=work, env={"GAN_CACHE": str(work / "cache")})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["images"] == 40


def test_what_test_images_without_labels_and_pictures_of_other_kinds_leave_out_is_said(
    work: Path, run_command: RunFn
) -> None:
    images, _ = discs(60, 3)
    np.savez(work / "unlabelled.npz", images=images)
    (work / "some").mkdir()
    for i in range(8):
        Image.fromarray(images[i]).save(work / "some" / f"{i}.png")
    (work / "some" / "8.heic").write_bytes(b"")
    ask = (
        "--data",
        "npz:real.npz",
        "--features",
        "classifier",
        "--test-data",
        "npz:unlabelled.npz",
        "--page",
        "p.html",
    )
    done = run_command("gan-eval", "some", *ask, "--json", cwd=work, env={"GAN_CACHE": str(work / "cache")})
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["real_class_agreement"] is None
    assert "whose accuracy can't be told, as the test images have no labels" in (work / "p.html").read_text()
    assert found["notes"][0].startswith("folder:some: 1 picture of kinds that can't be read was passed over (1 .heic)")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nothing.pt", "--data", "npz:real.npz"), 1, ["nothing.pt", "no such file"]),
        (("real.npz", "--data", "nonsense"), 2, ["nonsense", "folder:DIR"]),
        (
            ("run/ckpt.pt", "--data", "npz:real.npz", "--image-size", "32"),
            1,
            ["16x16 grey", "has 32x32 grey; give --im"],
        ),
        (("run/metrics.jsonl", "--data", "npz:real.npz"), 1, ["metrics.jsonl", "not a checkpoint"]),
        (("run/ckpt.pt", "--data", "npz:real.npz", "--n", "3"), 2, ["3", "8"]),
        (("run/ckpt.pt", "--data", "npz:real.npz", "--weights", "best"), 2, ["'best' is not one of", "ema", "raw"]),
        (("run/ckpt.pt",), 2, ["--data"]),
        (("run/ckpt.pt", "--data", "npz:real.npz", "--seed", str(10**23)), 2, ["seed", "9007199254740991"]),
        (("run", "--data", "npz:real.npz"), 1, ["run: is the folder of a run; give run/ckpt.pt"]),
        (("artifact", "--data", "npz:real.npz"), 1, ["artifact: is an artifact; draw images with gan-client dataset"]),
        (("run/samples", "--data", "npz:real.npz"), 1, ["holds a run's sample grids", "give run/ckpt.pt"]),
        (("run/samples/step_0000005.png", "--data", "npz:real.npz"), 1, ["step_0000005.png: is one picture"]),
        (("a.npz", "b.npz", "--data", "npz:real.npz", "--neighbours", "pairs.png"), 2, ["--neighbours", "one", "2"]),
        (("real.npz", "--data", "npz:real.npz", "--n", "40", "--neighbours", "no/pairs.png"), 1, ["no/pairs.png"]),
        (
            ("real.npz", "three.npz", "--data", "npz:real.npz"),
            1,
            ["npz:three.npz: 3 images are too few; 4 is the least"],
        ),
        (
            ("real.npz", "--data", "npz:three.npz", "--test-data", "npz:real.npz"),
            1,
            ["npz:three.npz: 3 images are too few; 4 is the least"],
        ),
    ],
)
def test_bad_input_is_one_line(
    work: Path, run_command: RunFn, arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    """Before the classifier is trained: the cache stays empty."""
    done = run_command("gan-eval", *arguments, cwd=work, env={"GAN_CACHE": str(work / "empty")})
    assert done.returncode == code
    assert not (work / "empty").exists()
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
