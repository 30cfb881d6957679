"""EpochBatches: every image once an epoch, an order that two numbers describe, exact resume."""

import itertools

import numpy as np
import pytest
import torch

from gan_training.data import EpochBatches, ImageData


def numbered(count: int, *, labelled: bool = True, channels: int = 1) -> ImageData:
    """Image i is filled with the byte i and has label i."""
    images = torch.arange(count, dtype=torch.uint8).reshape(-1, 1, 1, 1).repeat(1, channels, 16, 16)
    if not labelled:
        return ImageData(images, None, (), "test")
    return ImageData(images, torch.arange(count), tuple(map(str, range(count))), "test")


def ids(batch: tuple[torch.Tensor, torch.Tensor | None]) -> list[int]:
    """The numbers of the images of a batch, read from their pixels."""
    return ((batch[0][:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def take(batches: EpochBatches, count: int) -> list[list[int]]:
    return [ids(batch) for batch in itertools.islice(batches, count)]


def test_values_are_the_bytes_divided_by_half_their_range():
    data = numbered(256, channels=3)
    images, labels = next(EpochBatches(data, 256, seed=0))
    assert labels is not None
    assert images.dtype == torch.float32
    assert images.shape == (256, 3, 16, 16)
    assert (float(images.min()), float(images.max())) == (-1.0, 1.0)
    assert images.equal(data.images[labels].to(torch.float32) / 127.5 - 1)


def test_labels_stay_with_their_images_and_are_none_without_labels():
    for batch in itertools.islice(EpochBatches(numbered(50), 8, seed=3), 20):
        assert batch[1] is not None
        assert batch[1].dtype == torch.int64
        assert ids(batch) == batch[1].tolist()
    images, labels = next(EpochBatches(numbered(50, labelled=False), 8, seed=3))
    assert labels is None
    assert images.shape == (8, 1, 16, 16)


def joined(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


@pytest.mark.parametrize(("count", "batch_size"), [(50, 8), (48, 8), (8, 8), (9, 8), (200, 1)])
def test_an_epoch_has_no_image_twice_and_drops_less_than_a_batch(count, batch_size):
    batches = EpochBatches(numbered(count), batch_size, seed=1)
    assert batches.batches_per_epoch == count // batch_size
    orders = []
    for epoch in range(3):
        assert batches.epoch == epoch
        seen = joined(take(batches, batches.batches_per_epoch))
        assert len(seen) == len(set(seen)) == count // batch_size * batch_size
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]


def test_no_image_is_dropped_for_ever():
    batches = EpochBatches(numbered(9), 8, seed=0)
    assert set(joined(take(batches, 20))) == set(range(9))


def test_a_set_smaller_than_a_batch_goes_round():
    batches = EpochBatches(numbered(3), 8, seed=0)
    for _ in range(5):
        batch = ids(next(batches))
        assert len(batch) == 8
        assert batch == (batch[:3] * 3)[:8]
        assert sorted(batch[:3]) == [0, 1, 2]
    assert batches.epoch == 5


def test_order_is_a_function_of_seed_and_epoch_only():
    data = numbered(64)
    torch.manual_seed(0)
    np.random.seed(0)
    first = take(EpochBatches(data, 16, seed=7), 12)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert take(EpochBatches(data, 16, seed=7), 12) == first
    assert torch.get_rng_state().equal(state)
    assert take(EpochBatches(data, 16, seed=8), 12) != first
    # Neighbouring seeds don't share orders one epoch apart.
    assert take(EpochBatches(data, 16, seed=8), 4) != first[4:8]
    # Where an epoch is cut into batches doesn't change its order.
    assert joined(take(EpochBatches(data, 32, seed=7), 6)) == joined(first)


@pytest.mark.parametrize("done", [0, 1, 5, 6, 7, 23])
@pytest.mark.parametrize(("count", "batch_size"), [(50, 8), (48, 8), (3, 8)])
def test_resume_gives_exactly_the_next_batches(done, count, batch_size):
    data = numbered(count)
    whole = EpochBatches(data, batch_size, seed=5)
    take(whole, done)
    state = whole.state_dict()
    assert all(type(value) is int for value in state.values())
    resumed = EpochBatches(data, batch_size, seed=5)
    take(resumed, 2)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert take(resumed, 15) == take(whole, 15)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"epoch": 0},
        {"epoch": 0, "position": 0, "more": 1},
        {"epoch": 0.0, "position": 0},
        {"epoch": True, "position": 0},
        {"epoch": -1, "position": 0},
        {"epoch": 0, "position": -8},
        {"epoch": 0, "position": 4},
        {"epoch": 0, "position": 48},
    ],
)
def test_a_state_of_another_run_is_refused(state):
    batches = EpochBatches(numbered(50), 8, seed=0)
    with pytest.raises(ValueError, match="data order"):
        batches.load_state_dict(state)
    assert batches.state_dict() == {"epoch": 0, "position": 0}


def test_arguments_out_of_range_are_refused():
    data = numbered(4)
    for arguments, words in (((0, 0), "batch size 0"), ((-3, 0), "batch size -3"), ((2, -1), "seed -1")):
        with pytest.raises(ValueError, match=words):
            EpochBatches(data, *arguments)


def test_batches_do_not_change_the_data():
    data = numbered(16)
    before = data.images.clone()
    batch = next(EpochBatches(data, 4, seed=0))
    batch[0].fill_(5.0)
    assert data.images.equal(before)
