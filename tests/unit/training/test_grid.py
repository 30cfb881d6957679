"""Sample grids: the same latents for every class, in memory that does not grow with the classes."""

import pytest
import torch

from gan_training.build import build_specs
from gan_training.config import TrainConfig
from gan_training.grid import MARGIN, FixedSamples
from gan_training.metrics.subsample import subsample
from gan_training.nets import Generator
from gan_training.runs.observer import COMPARED
from gan_training.watch.memorisation import MemorisationCheck

SMALL = {"latent_dim": 6, "generator_width": 4, "critic_width": 4, "embed_dim": 4}


def generator_of(classes: int) -> Generator:
    torch.manual_seed(0)
    config = TrainConfig.for_type("cgan" if classes else "dcgan", "toy", SMALL)
    return Generator(build_specs(config, 16, 1, classes)[0])


@pytest.mark.parametrize(
    ("classes", "rows"), [(0, 8), (10, 10), (100, 100), (101, 100), (1000, 100)], ids=lambda number: str(number)
)
def test_a_grid_has_a_row_for_each_class_or_for_100_of_them(classes: int, rows: int):
    generator = generator_of(classes)
    samples, sizes = FixedSamples(generator.spec, 0), []
    generator.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    images, picture = samples.draw(generator)
    assert len(images) == rows * 8
    assert max(sizes) <= 256
    assert picture.size == (8 * (16 + MARGIN) + MARGIN, rows * (16 + MARGIN) + MARGIN)
    assert generator.training
    if samples.labels is not None:
        shown = samples.labels[::8].tolist()
        assert (shown[0], shown[-1]) == (0, classes - 1)
        assert len(set(shown)) == rows
        assert torch.equal(samples.labels, torch.tensor(shown).repeat_interleave(8))
        assert shown == list(range(classes)) or classes > 100


@pytest.mark.parametrize("classes", [0, 10, 30])
def test_a_small_grid_is_one_batch_of_the_generator_to_the_bit(classes: int):
    generator = generator_of(classes)
    samples = FixedSamples(generator.spec, 0)
    with torch.no_grad():
        wanted = ((generator.eval()(samples.z, samples.labels) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(samples.draw(generator)[0], wanted)


def test_the_samples_of_many_classes_are_compared_in_part(make_run, toy_data, tmp_path):
    data = toy_data(120, classes=60)
    run = make_run("cgan", tmp_path, data, steps=1, sample_every=1)
    run.train(lambda _: None)
    images, _ = run.observer.samples.draw(run.trainer.ema)
    assert len(images) == 480
    ratio, _ = MemorisationCheck(data).check(subsample(images, COMPARED))
    assert run.observer.history[-1]["memorisation_ratio"] == pytest.approx(ratio, rel=1e-5)
