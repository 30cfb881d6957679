"""Every metric against an independent formula or a case whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import pictures
from PIL import Image
from scipy import linalg

from gan_training.data import DataError, ImageData
from gan_training.evaluation import evaluate
from gan_training.evaluation.evaluate import Evaluator, split
from gan_training.evaluation.samples import Samples, generate, labels_like, prepare_samples
from gan_training.metrics.agreement import class_agreement, class_shares
from gan_training.metrics.checkerboard import checkerboard_energy
from gan_training.metrics.diversity import mean_pairwise_distance, relative_diversity
from gan_training.metrics.features import ClassifierExtractor
from gan_training.metrics.frechet import frechet_distance
from gan_training.metrics.neighbours import memorisation_ratio, nearest_neighbours
from gan_training.metrics.prdc import prdc
from gan_training.metrics.subsample import subsample
from gan_training.pages.eval_page import real_value
from gan_training.specs import GeneratorSpec

CLOSE = 1e-6


def normal(n: int, d: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    return mean + scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def quiet(_done: int, _total: int) -> None:
    """No progress."""


def test_frechet_distance_equals_the_matrix_square_root_formula() -> None:
    real, fake = normal(500, 6, 0), normal(400, 6, 1, mean=0.5, scale=2.0) @ normal(6, 6, 2)
    a, b = real.double().numpy(), fake.double().numpy()
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=CLOSE)
    assert frechet_distance(fake, real) == pytest.approx(expected, rel=CLOSE)


def test_frechet_distance_of_a_set_to_itself_and_to_its_shift() -> None:
    real = normal(300, 4, 0)
    assert frechet_distance(real, real) == pytest.approx(0, abs=CLOSE)
    assert frechet_distance(real, real + 2.0) == pytest.approx(4 * 2.0**2, rel=1e-5)
    with pytest.raises(ValueError, match="can't be compared"):
        frechet_distance(real, normal(300, 5, 0))


def test_overlap_equals_its_definition() -> None:
    real, fake, k = normal(60, 3, 0), normal(50, 3, 1, mean=0.7), 3
    radius = {
        name: [sorted(float((x - y).norm()) for y in rows)[k] for x in rows]
        for name, rows in (("real", real), ("fake", fake))
    }
    distance = [[float((x - y).norm()) for y in fake] for x in real]
    found = prdc(real, fake, k)
    inside = [[distance[i][j] <= radius["real"][i] for j in range(50)] for i in range(60)]
    assert found.precision == pytest.approx(np.any(inside, axis=0).mean())
    assert found.coverage == pytest.approx(np.any(inside, axis=1).mean())
    assert found.density == pytest.approx(np.sum(inside) / (k * 50))
    recalled = [[distance[i][j] <= radius["fake"][j] for j in range(50)] for i in range(60)]
    assert found.recall == pytest.approx(np.any(recalled, axis=1).mean())


def test_overlap_does_not_depend_on_where_the_features_lie() -> None:
    real, fake = normal(300, 10, 0), normal(350, 10, 1, scale=0.9)
    assert prdc(real + 1000, fake + 1000) == pytest.approx(prdc(real, fake), abs=0.004)


def test_overlap_tells_collapse_from_noise() -> None:
    real = normal(200, 4, 0)
    collapsed = real[:1] + normal(200, 4, 1, scale=1e-3)
    assert prdc(real, collapsed).precision == 1
    assert prdc(real, collapsed).recall < 0.05
    assert prdc(real, real + 100).precision == 0
    with pytest.raises(ValueError, match="3 neighbours need more than 3 images"):
        prdc(real[:3], real)


def test_class_agreement_and_shares() -> None:
    predicted, asked = torch.tensor([0, 1, 1, 3]), torch.tensor([0, 1, 2, 3])
    assert class_agreement(predicted, asked) == 0.75
    assert class_shares(predicted, 5) == [0.25, 0.5, 0.0, 0.25, 0.0]


def test_real_images_that_are_all_the_same_say_nothing_of_diversity() -> None:
    assert relative_diversity(torch.ones(5, 3), normal(5, 3, 0)) is None


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0]])
    assert mean_pairwise_distance(points) == pytest.approx((1 + 3 + 2) / 3)
    assert mean_pairwise_distance(points[:1]) == 0
    assert relative_diversity(points, points / 2) == pytest.approx(0.5)


def test_images_in_the_order_of_their_classes_are_as_diverse_as_shuffled_ones() -> None:
    rng = torch.Generator().manual_seed(3)
    ordered = (torch.eye(10).repeat_interleave(500, 0) * 20) + torch.randn(5000, 10, generator=rng)
    mixed = ordered[torch.randperm(5000, generator=rng)]
    for real, fake in ((ordered, mixed), (mixed, ordered), (ordered, ordered)):
        assert relative_diversity(real, fake) == pytest.approx(1, abs=0.03)


def test_checkerboard_energy_of_known_patterns() -> None:
    rows, columns = torch.arange(8)[:, None], torch.arange(8)[None, :]
    board, stripes = (rows + columns) % 2 * 255, (rows + 0 * columns) % 2 * 255
    for pattern, energy in ((board, 1.0), (stripes, 0.0), (0 * board, 0.0)):
        assert checkerboard_energy(pattern.to(torch.uint8)[None, None]) == energy
    # White noise has the same energy in all three directions.
    assert checkerboard_energy(pictures(200, 0)) == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("at_once", [10_000, 100])
def test_nearest_neighbours_and_memorisation(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    training, queries = pictures(700, 0), pictures(300, 1)
    monkeypatch.setattr("gan_training.metrics.neighbours._NUMBERS", at_once * training[0].numel())
    twice = nearest_neighbours(training[50:60], torch.cat([training, training]))
    assert twice.indices.tolist() == list(range(50, 60)), "of equally close ones the first"
    found = nearest_neighbours(queries, training)
    i = 7
    by_hand = [(int((queries[i].int() - image.int()).abs().sum()) / 256, j) for j, image in enumerate(training)]
    assert found.distances[i] == pytest.approx(min(by_hand)[0], rel=1e-5)
    assert found.indices[i] == min(by_hand)[1]
    others = nearest_neighbours(training[50:60], torch.cat([training, training]), others=True)
    without = nearest_neighbours(training[50:60], torch.cat([training[:50], training[60:]]))
    assert bool((others.distances > 0).all())
    assert bool((others.distances <= without.distances).all())
    assert bool((others.indices != torch.arange(50, 60)).all())
    assert nearest_neighbours(training[:1], training[:1], others=True).distances.tolist() == [float("inf")]
    assert memorisation_ratio(training[100:200], training) == 0
    assert memorisation_ratio(pictures(300, 2), training) == pytest.approx(1, abs=0.05)


def test_classes_are_asked_for_as_often_as_the_data_have_them() -> None:
    labels = torch.tensor([0] * 700 + [1] * 250 + [2] * 49 + [4])
    asked = labels_like(labels, 400, 5, 0)
    assert asked.bincount(minlength=5).tolist() in ([280, 100, 20, 0, 0], [280, 100, 19, 0, 1])
    assert asked[:3].tolist() == [0, 1, 2]
    assert torch.equal(labels_like(labels, 400, 5, 0), asked)
    balanced = torch.arange(300) % 3
    for n in (300, 100, 3):
        assert torch.equal(labels_like(balanced, n, 3, 7), torch.arange(n) % 3)
    # A share of a class that is too small for an image is not lost for all the classes like it.
    rare = torch.cat([torch.zeros(9000, dtype=torch.int64), torch.arange(1, 1001)])
    assert int((labels_like(rare, 5000, 1001, 0) > 0).sum()) == 500


def test_fewer_samples_than_classes_are_of_any_of_them() -> None:
    asked = torch.stack([labels_like(torch.arange(1000) % 100, 30, 100, seed) for seed in range(40)])
    assert all(len(row.unique()) == 30 for row in asked)
    assert len(asked.unique()) == 100


class Painted(torch.nn.Module):
    """A generator whose pixels tell the class."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, _: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (self.scale * (labels * 20) / 127.5 - 1)[:, None, None, None].expand(-1, 1, 16, 16)


def test_a_generator_draws_what_it_was_asked_for() -> None:
    spec = GeneratorSpec(image_size=16, channels=1, classes=4, latent_dim=2)
    samples = generate(Painted(), spec, 40, like=torch.tensor([1, 1, 1, 3]))
    assert samples.labels is not None
    assert samples.labels.bincount().tolist() == [0, 30, 0, 10]
    assert torch.equal(samples.images[:, 0, 0, 0].long(), samples.labels * 20)
    assert generate(Painted(), spec, 40).labels.tolist() == [0, 1, 2, 3] * 10  # type: ignore[union-attr]


def test_split_holds_out_the_same_tenth_of_each_class() -> None:
    labels = torch.arange(100) % 4
    data = ImageData(pictures(100, 0), labels, ("a", "b", "c", "d"), "toy")
    train, test = split(data)
    assert (len(train), len(test)) == (92, 8)
    assert test.labels is not None
    assert test.labels.bincount().tolist() == [2, 2, 2, 2]
    assert torch.equal(split(data)[1].images, test.images)
    both = torch.cat([train.images, test.images]).flatten(1)
    assert len(both.unique(dim=0)) == len(data.images.flatten(1).unique(dim=0))


def test_split_holds_out_some_where_no_class_has_two_images() -> None:
    data = ImageData(pictures(30, 0), torch.arange(30), tuple(map(str, range(30))), "toy")
    assert list(map(len, split(data))) == [27, 3]


def test_split_takes_a_choice_of_images_that_may_be_larger_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageData(pictures(1000, 0), torch.arange(1000) % 4, ("a", "b", "c", "d"), "toy")
    whole = split(data)
    monkeypatch.setattr(evaluate, "SPLIT_BYTES", 1000 * 256)
    assert all(torch.equal(one.images, other.images) for one, other in zip(whole, split(data), strict=True))
    monkeypatch.setattr(evaluate, "SPLIT_BYTES", 100 * 256)
    train, test = split(data)
    assert len(train) + len(test) == 100
    assert 8 <= len(test) <= 12
    assert len(torch.cat([train.images, test.images]).flatten(1).unique(dim=0)) == 100
    for part in (train, test):
        assert part.labels is not None
        where = [int((data.images == image).flatten(1).all(1).nonzero()) for image in part.images]
        assert torch.equal(part.labels, torch.tensor(where) % 4)
        assert part.notes == ("100 of its 1,000 images stand for all; give --test-data to compare with all of them",)


class MeanAndSpread(torch.nn.Module):
    """A net whose features are known: mean and spread of an image; the class is whether it is bright."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = images.float().flatten(1)
        return torch.stack([x.mean(1), x.std(1)], 1), torch.stack([127.5 - x.mean(1), x.mean(1) - 127.5], 1)


def sets(order: torch.Tensor) -> ImageData:
    """400 images of two classes, dark and bright, in some order."""
    labels = torch.arange(400) % 2
    images = (pictures(400, 0).float() / 2 + labels[:, None, None, None] * 127).to(torch.uint8)
    return ImageData(images[order], labels[order], ("dark", "bright"), "toy")


def test_the_real_values_do_not_depend_on_the_order_of_the_training_images() -> None:
    labels = torch.arange(400) % 2
    extractor = ClassifierExtractor(MeanAndSpread(), 1.0, True)  # type: ignore[arg-type]
    few = Samples(sets(torch.arange(400)).images[:40], None)  # fewer than training images
    found = [
        Evaluator(sets(order), sets(torch.arange(400)), extractor).evaluate(few)
        for order in (torch.arange(400), labels.argsort(stable=True))
    ]
    for result in found:  # of one class alone it would be half at most
        assert result.real_recall > 0.6


def test_both_frechet_distances_are_of_as_many_images() -> None:
    """Of 40 images a distance is larger than of 400, whoever made them."""
    extractor = ClassifierExtractor(MeanAndSpread(), 1.0, True)  # type: ignore[arg-type]
    train, test = sets(torch.arange(400)), sets(torch.arange(40))
    features = {name: extractor.extract(data.images)[0] for name, data in (("train", train), ("test", test))}
    many = extractor.extract(train.images.flip(3))[0]
    found = Evaluator(train, test, extractor).evaluate(Samples(train.images.flip(3), None))
    assert found.images == 400
    assert found.real_frechet_distance == frechet_distance(features["train"], features["test"])
    assert found.frechet_distance == frechet_distance(features["train"], subsample(many, 40))
    assert found.frechet_distance > frechet_distance(features["train"], many)
    evaluator = Evaluator(train, train, extractor)
    results = [evaluator.evaluate(Samples(test.images[:n], None)) for n in (40, 10, 40)]
    wanted = [frechet_distance(features["train"], subsample(features["train"], n)) for n in (40, 10, 40)]
    assert [result.real_frechet_distance for result in results] == wanted


def test_fewer_images_of_a_file_are_of_all_its_classes(tmp_path: Path) -> None:
    ordered = sets((torch.arange(400) % 2).argsort(stable=True))
    assert ordered.labels is not None
    np.savez(tmp_path / "s.npz", images=ordered.images[:, 0].numpy(), labels=ordered.labels.numpy())
    real = ImageData(ordered.images, ordered.labels, ("0", "1"), "toy")
    some, again = (prepare_samples(tmp_path / "s.npz", real, 50).draw(quiet) for _ in range(2))
    assert some.labels is not None
    assert len(some.images) == 50
    assert set(some.labels.tolist()) == {0, 1}
    assert torch.equal(some.images, again.images)
    assert [bool(image.float().mean() > 127.5) for image in some.images] == [bool(label) for label in some.labels]
    assert torch.equal(prepare_samples(tmp_path / "s.npz", real, 400).draw(quiet).images, ordered.images)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((40, 16, 16), ""), ((40, 32, 24), "24x32 images were made 16x16 grey"), ((40, 16, 16, 3), "16x16 RGB images")],
)
def test_images_of_another_shape_are_told_of(tmp_path: Path, shape: tuple[int, ...], words: str) -> None:
    np.savez(tmp_path / "s.npz", images=np.zeros(shape, np.uint8))
    real = ImageData(torch.zeros(8, 1, 16, 16, dtype=torch.uint8), None, (), "toy")
    note = " ".join(prepare_samples(tmp_path / "s.npz", real, 8).notes)
    assert words in note
    assert bool(note) == bool(words)


def test_pictures_of_other_sizes_are_told_of(tmp_path: Path) -> None:
    for number, size in enumerate([(16, 16), (20, 30), (64, 18), (16, 16), (16, 16)]):
        Image.new("L", size, number).save(tmp_path / f"{number}.png")
    real = ImageData(torch.zeros(8, 1, 16, 16, dtype=torch.uint8), None, (), "toy")
    assert "16x16 to 64x30 images were made 16x16 grey" in " ".join(prepare_samples(tmp_path, real, 8).notes)
    for path in tmp_path.glob("[12].png"):
        path.unlink()
    Image.new("L", (16, 16), 9).save(tmp_path / "9.png")
    assert not prepare_samples(tmp_path, real, 8).notes


def test_the_real_value_stands_once_where_it_is_the_same_for_all() -> None:
    results = [{"recall": 0.1, "real_recall": 0.25}, {"recall": 0.9, "real_recall": 0.25}]
    assert real_value("recall", results, {"recall": "real_recall"}) == "0.25"
    results[1]["real_recall"] = 0.75
    assert real_value("recall", results, {"recall": "real_recall"}) == "0.25 / 0.75"
    assert real_value("diversity", results, {"recall": "real_recall"}) == ""


def test_the_judge_puts_the_real_values_beside_the_samples() -> None:
    labels = torch.arange(200) % 2
    images = (pictures(200, 0).float() / 2 + labels[:, None, None, None] * 127).to(torch.uint8)
    train, test = split(ImageData(images, labels, ("dark", "bright"), "toy"))
    evaluator = Evaluator(train, test, ClassifierExtractor(MeanAndSpread(), 1.0, True))  # type: ignore[arg-type]
    copies = evaluator.evaluate(Samples(train.images, train.labels))
    assert copies.class_agreement == 1
    assert copies.class_shares == [0.5, 0.5]
    themselves = Evaluator(train, train, evaluator.extractor).evaluate(Samples(train.images, train.labels))
    assert themselves.frechet_distance == pytest.approx(0, abs=1e-3)
    assert copies.memorisation_ratio == 0
    swapped = evaluator.evaluate(Samples(train.images, None if train.labels is None else 1 - train.labels))
    assert swapped.class_agreement == 0
    assert evaluator.evaluate(Samples(train.images, None)).class_agreement is None
    closest, nearest = evaluator.closest(Samples(train.images, None), 4)
    assert torch.equal(closest, train.images[nearest.indices])
    of_each, _ = evaluator.closest_of_each_class(Samples(train.images, None), 3)
    assert [float(image.float().mean()) > 127.5 for image in of_each] == [False] * 3 + [True] * 3
    with pytest.raises(DataError, match=r"32x32 with 1 channel, but toy has 16x16 with 1 channel"):
        evaluator.evaluate(Samples(torch.zeros(20, 1, 32, 32, dtype=torch.uint8), None))
