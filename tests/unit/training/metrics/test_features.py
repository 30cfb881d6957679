"""The classifier whose features are compared: trained once, kept, and never taken for another."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from pictures import pictures

from gan_training.data import ImageData
from gan_training.evaluation.evaluate import split
from gan_training.metrics import features


def of_shades(monkeypatch: pytest.MonkeyPatch) -> tuple[ImageData, ImageData]:
    """Training and test images, for classifiers of two steps."""
    monkeypatch.setattr(features, "STEPS", 2)
    labels = torch.arange(40) % 2
    return split(ImageData(pictures(40, 0), labels, ("a", "b"), "toy"))


def test_a_damaged_classifier_in_the_cache_is_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = of_shades(monkeypatch)
    first = features.extractor_for(train, test, tmp_path).extract(test.images)[0]
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no weights at all"):
        path.write_bytes(damaged)
        assert torch.equal(features.extractor_for(train, test, tmp_path).extract(test.images)[0], first)
        assert [path] == list(tmp_path.iterdir())
        assert len(path.read_bytes()) == len(whole)


def test_a_cache_that_can_not_be_used_costs_only_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = of_shades(monkeypatch)
    (tmp_path / "file").write_text("in the way")
    first = features.extractor_for(train, test, tmp_path / "file").extract(test.images)[0]
    assert torch.equal(features.extractor_for(train, test, tmp_path / "cache").extract(test.images)[0], first)


def test_two_who_want_one_classifier_train_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = of_shades(monkeypatch)
    trained: list[int] = []

    def count(done: int, steps: int) -> None:
        if done == steps:
            trained.append(done)

    with ThreadPoolExecutor(4) as pool:
        extractors = [pool.submit(features.extractor_for, train, test, tmp_path, count) for _ in range(4)]
    found = [each.result().extract(test.images)[0] for each in extractors]
    assert all(torch.equal(one, found[0]) for one in found)
    assert len(trained) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".pt"]


@pytest.mark.parametrize(
    ("images", "steps"), [(2, 100), (128, 100), (400, 400), (1664, 1300), (1665, 1400), (60_000, 1400)]
)
def test_few_images_are_not_learned_for_more_than_100_epochs(images: int, steps: int) -> None:
    assert features._steps_for(images) == steps


def test_one_class_is_as_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier of one class is never wrong, and learns nothing."""
    monkeypatch.setattr(features, "STEPS", 2)
    images = pictures(40, 0)
    labelled = ImageData(images, torch.zeros(40, dtype=torch.int64), ("a",), "toy")
    one, none = (
        features.extractor_for(data, data, tmp_path / data.source)
        for data in (labelled, ImageData(images, None, (), "none"))
    )
    assert not one.has_classes
    assert one.accuracy == none.accuracy
    assert torch.equal(one.extract(images)[0], none.extract(images)[0])
    # A cache of before this was found holds weights by the name of one class.
    assert [path.name for path in (tmp_path / "toy").iterdir()] == [path.name for path in (tmp_path / "none").iterdir()]


def test_training_a_classifier_leaves_every_random_state_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of GPUs too, which nothing would restore: a run's weights must not depend on what the cache holds."""
    train, test = of_shades(monkeypatch)
    reseeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    before = torch.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        one = features.extractor_for(train, test, tmp_path / "one").extract(test.images)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert torch.equal(features.extractor_for(train, test, tmp_path / "two").extract(test.images)[0], one)
    assert reseeded == []


def test_a_fingerprint_is_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = of_shades(monkeypatch)
    first, cached = (features.extractor_for(train, test, tmp_path) for _ in range(2))
    assert first.fingerprint == cached.fingerprint
    assert len(first.fingerprint) == 8
    with torch.no_grad():
        next(cached.net.parameters()).view(-1)[0] += 1e-6
    assert features.ClassifierExtractor(cached.net, None, True).fingerprint != first.fingerprint
