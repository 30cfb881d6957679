"""Shifts of what the critic sees: whole pixels, each image its own, real and generated ones, and gradients go back."""

import pytest
import torch
from torch import Tensor

from gan_training.augment import translated
from gan_training.config import ConfigError

N, HEIGHT, WIDTH, MOST = 600, 6, 8, 2


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """(C, H, W) moved by roll; what comes in at the other side becomes black."""
    moved = image.roll((down, right), (1, 2))
    rows = slice(0, down) if down >= 0 else slice(HEIGHT + down, HEIGHT)
    columns = slice(0, right) if right >= 0 else slice(WIDTH + right, WIDTH)
    moved[:, rows], moved[:, :, columns] = -1, -1
    return moved


def shift_of(image: Tensor, moved: Tensor) -> tuple[int, int]:
    """The one shift that makes `moved` of `image`."""
    span = range(-MOST, MOST + 1)
    found = [(down, right) for down in span for right in span if torch.equal(shifted(image, down, right), moved)]
    assert len(found) == 1
    return found[0]


def test_each_image_is_shifted_by_whole_pixels_and_all_shifts_occur():
    images = torch.rand(N, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.manual_seed(0)
    moved = translated(images, MOST)
    assert moved.dtype == torch.float32
    assert moved.shape == images.shape
    counts = torch.zeros(2 * MOST + 1, 2 * MOST + 1)
    for before, after in zip(images, moved, strict=True):
        down, right = shift_of(before, after)
        counts[down + MOST, right + MOST] += 1
    assert counts.min() > 0
    assert counts.max() < 3 * N / counts.numel(), "no shift is preferred"


def test_under_autocast_the_values_stay():
    images = torch.rand(8, 1, HEIGHT, WIDTH) * 2 - 1
    torch.manual_seed(0)
    plain = translated(images, MOST)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(translated(images, MOST), plain)


def test_gradients_come_back_to_where_the_pixels_were():
    images = (torch.rand(4, 1, HEIGHT, WIDTH) * 2 - 1).requires_grad_()
    moved = translated(images, MOST)
    (moved * 3).sum().backward()
    for image, after, gradient in zip(images.detach(), moved.detach(), images.grad, strict=True):
        down, right = shift_of(image, after)
        still_seen = shifted(torch.ones(1, HEIGHT, WIDTH), -down, -right) > 0
        assert torch.equal(gradient, 3.0 * still_seen)


def test_the_critic_sees_real_and_generated_images_shifted_in_both_steps(make_run, tmp_path):
    run = make_run("dcgan", tmp_path, translate=3)
    seen: list[Tensor] = []
    run.trainer.critic.register_forward_pre_hook(lambda _module, arguments: seen.append(arguments[0].detach()))
    run.trainer.step()
    edges = [((images[:, :, 0] == -1).all(2) | (images[:, :, -1] == -1).all(2)).float().mean() for images in seen]
    assert len(seen) >= 2, "real and fake in one call, and fake for the generator"
    assert all(0.5 < float(edge) <= 1 for edge in edges), "6 of 7 vertical shifts leave a black row"


@pytest.mark.parametrize("most", [5, 20])
def test_images_must_not_be_shifted_out_of_sight(make_run, tmp_path, most):
    with pytest.raises(ConfigError, match=rf"translate is {most}; for images of 16 pixels it must be from 0 to 4"):
        make_run("dcgan", tmp_path, translate=most)
