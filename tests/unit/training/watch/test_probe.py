"""What fresh samples are measured by: diversity beside real images, and copies of training images."""

import pytest
import torch
from runs import quiet

from gan_training.build import build_specs
from gan_training.config import TrainConfig
from gan_training.data import ImageData, load_data
from gan_training.metrics.neighbours import memorisation_ratio
from gan_training.nets import Generator
from gan_training.watch.memorisation import MemorisationCheck
from gan_training.watch.probe import DiversityMetrics, DiversityProbe


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", 16)


@pytest.fixture(scope="module")
def probe(digits: ImageData) -> DiversityProbe:
    spec, _ = build_specs(TrainConfig.for_type("dcgan", "digits"), 16, 1, 0)
    return DiversityProbe(digits, spec, 0)


class TestProbe:
    """Samples whose diversity is known, because they are real images."""

    def test_other_real_images_are_as_diverse_as_real_ones(self, probe, digits):
        chosen = torch.randperm(5000, generator=torch.Generator().manual_seed(1))[:500]
        found = probe.compare(digits.images[chosen].float() / 127.5 - 1)
        assert found.diversity == pytest.approx(1, abs=0.1)
        assert found.spacing == pytest.approx(1, abs=0.2)
        assert found.classes_covered == 1
        assert found.recall > 0.5

    def test_three_classes_of_ten_are_seen(self, probe, digits):
        few = digits.images[digits.labels < 3][:500].float() / 127.5 - 1
        assert probe.compare(few).classes_covered == pytest.approx(0.3, abs=0.11)

    def test_one_image_again_and_again_has_no_diversity(self, probe, digits):
        found = probe.compare((digits.images[:1].float() / 127.5 - 1).expand(500, -1, -1, -1))
        assert found.diversity == pytest.approx(0, abs=1e-3)
        assert found.spacing == pytest.approx(0, abs=1e-3)
        assert found.classes_covered == pytest.approx(0.1)

    def test_one_image_for_each_class_has_no_class_diversity(self, digits):
        spec, _ = build_specs(TrainConfig.for_type("cgan", "digits"), 16, 1, 10)
        probe = DiversityProbe(digits, spec, 0)
        labels = probe.labels[:500]
        first = torch.stack([digits.images[digits.labels == c][0] for c in range(10)]).float() / 127.5 - 1
        found = probe.compare(first[labels], labels)
        assert found.class_diversity == pytest.approx(0, abs=1e-3)
        assert found.diversity > 0.8
        assert found.classes_covered >= 0.9

    def test_a_class_of_few_images_says_nothing_of_its_spread(self, digits):
        spec, _ = build_specs(TrainConfig.for_type("cgan", "digits"), 16, 1, 10)
        probe, rng = DiversityProbe(digits, spec, 0), torch.Generator().manual_seed(1)
        labels = probe.labels[:500].clone()
        rows = [torch.where(digits.labels == label)[0] for label in labels]
        fake = digits.images[torch.stack([of[torch.randint(len(of), (), generator=rng)] for of in rows])]
        found = {}
        for few in (0, 3, 12):
            labels[:few], fake[:few] = 10, fake[0].clone()  # another class, of the same image again and again
            found[few] = probe.compare(fake.float() / 127.5 - 1, labels).class_diversity
        assert found[0] > 0.7
        assert found[3] == pytest.approx(found[0], abs=0.1)
        assert found[12] == pytest.approx(0, abs=1e-3)

    def test_samples_are_drawn_on_the_statistics_of_their_own_batch_as_in_training(self, probe):
        generator = Generator(probe.spec)
        before = probe.measure(generator, 7)
        norms = [module for module in generator.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert norms
        for norm in norms:
            norm.running_mean.fill_(1e6)  # in eval mode, all samples would be one
        assert probe.measure(generator, 7) == before
        assert all((norm.running_mean == 1e6).all() for norm in norms)

    def test_classes_too_rare_to_be_seen_in_500_samples_are_not_missed(self):
        """Samples that are real images themselves lack many of 400 classes by chance."""
        rare = clusters(classes=400, common=0)
        assert compared_with_itself(rare).classes_covered is None
        some = clusters(classes=400, common=10)
        assert compared_with_itself(some).classes_covered == 1

    @pytest.mark.parametrize("seed", [0, 2**53 - 1])
    def test_every_seed_that_a_run_may_have_can_be_looked_at(self, make_run, tmp_path, seed):
        run = make_run("dcgan", tmp_path, seed=seed, watch_every=1, steps=1)
        run.train(quiet)
        assert "diversity" in run.observer.history[-1]


def clusters(classes: int, common: int) -> ImageData:
    """4,000 images, each class about a point of its own; half of them of the `common` classes, if there are any."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (4000,), generator=rng)
    if common:
        labels[::2] = torch.randint(common, (2000,), generator=rng)
    centres = torch.randint(40, 216, (classes, 1, 16, 16), generator=rng)
    images = (centres[labels] + torch.randint(-20, 20, (4000, 1, 16, 16), generator=rng)).to(torch.uint8)
    return ImageData(images, labels, tuple(map(str, range(classes))), "clusters")


def compared_with_itself(data: ImageData) -> DiversityMetrics:
    """What the probe finds in 500 images that it knows, but for those that it compares with."""
    spec, _ = build_specs(TrainConfig.for_type("dcgan", "clusters"), 16, 1, 0)
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))[:500]
    return DiversityProbe(data, spec, 0).compare(data.images[chosen].float() / 127.5 - 1)


class TestCopies:
    @pytest.mark.parametrize("at_once", [10_000, 5])
    def test_copies_are_found_with_their_originals(self, digits, at_once, monkeypatch):
        of_one = 32 * digits.images[0].numel()
        monkeypatch.setattr("gan_training.watch.memorisation._NUMBERS", at_once * of_one)
        ratio, nearest = MemorisationCheck(digits).check(digits.images[100:164])
        assert ratio == 0
        assert nearest.indices.tolist() == list(range(100, 164))

    def test_new_images_of_the_same_kind_are_as_far_as_real_ones(self, digits):
        old, new = digits.images[::2].contiguous(), digits.images[1::2].contiguous()
        data = ImageData(old, digits.labels[::2].contiguous(), digits.class_names, "half")
        ratio, _ = MemorisationCheck(data).check(new[:64])
        assert 0.7 < ratio < 1.4

    @pytest.mark.parametrize("digit", [0, 1, 2, 7])
    def test_new_images_of_one_class_are_as_new_as_all(self, digits, digit):
        """Though two thin ones are closer to each other than two others: ink is no memory."""
        data = ImageData(digits.images[::2].contiguous(), digits.labels[::2].contiguous(), digits.class_names, "half")
        new = digits.images[1::2][digits.labels[1::2] == digit][:200]
        ratio, _ = MemorisationCheck(data).check(new)
        assert 0.9 < ratio < 1.2
        assert ratio == pytest.approx(memorisation_ratio(new, data.images), abs=0.05), "as gan-eval has it"

    def test_a_training_image_that_is_there_twice_is_no_measure_of_newness(self, digits):
        half = digits.images[::2].contiguous()
        once, twice = (ImageData(images, None, (), "d") for images in (half, torch.cat([half, half])))
        for images, ratio in ((digits.images[1:201:2], 1.05), (half[:100], 0)):
            assert MemorisationCheck(twice).check(images)[0] == pytest.approx(ratio, abs=0.1)
            assert memorisation_ratio(images, twice.images) == memorisation_ratio(images, once.images)

    def test_images_that_are_all_the_same_say_nothing(self):
        same = torch.full((40, 1, 16, 16), 7, dtype=torch.uint8)
        ratio, _ = MemorisationCheck(ImageData(same, None, (), "same")).check(same[:8])
        assert ratio == 1
        assert memorisation_ratio(same[:8], same) is None
