"""Two of a class that give different images, or change when they are called: what is at fault is named."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from author_modules import Plain, Z, freed
from torch import Tensor, nn

from gan_export.calling.completeness import check_complete
from gan_export.calling.convention_search import find_convention, run_once
from gan_export.reference import EagerRunner
from gan_export.refusal import IntakeError


class Overwriting(Plain):
    def forward(self, z: Tensor) -> Tensor:
        return self.pixels(z.clamp_(-0.1, 0.1))


class Changing(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, z: Tensor) -> Tensor:
        self.calls += 0.1
        return self.pixels(z + self.calls)


class Remembering(Plain):
    """Draws noise when it is called for the first time, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.noise: Tensor | None = None

    def forward(self, z: Tensor) -> Tensor:
        if self.noise is None:
            self.noise = torch.randn(Z)
        return self.pixels(z + self.noise)


class Growing(Plain):
    """Makes a layer when it is called for the first time, whose weights no file has."""

    def __init__(self) -> None:
        super().__init__()
        self.last: nn.Module | None = None

    def forward(self, z: Tensor) -> Tensor:
        if self.last is None:
            self.last = nn.Linear(Z, Z)
        return self.pixels(self.last(z))


class Writing(Plain):
    """Does something to itself whenever it is called."""

    def __init__(self, does: Callable[["Writing"], object]) -> None:
        super().__init__()
        self.does = does
        self.register_buffer("seen", torch.ones(4))

    def forward(self, z: Tensor) -> Tensor:
        self.does(self)
        return self.pixels(z)


def assign(module: Writing) -> None:
    """As hand-written equalised learning rates do."""
    module.layer.weight.data = module.layer.weight.data * 1.0


def scale(module: Writing) -> None:
    module.layer.weight.data *= 1.0


def overwrite(module: Writing) -> None:
    module.seen.data[:] = 1.0


def test_latents_that_forward_writes_into_stay_as_they_are() -> None:
    module = Overwriting().eval()
    z = np.random.default_rng(0).standard_normal((4, Z)).astype(np.float32)
    before = z.copy()
    EagerRunner(module).draw(z, None)
    convention = find_convention(module, Z, 0)
    run_once(module, convention, torch.from_numpy(z), None)
    assert np.array_equal(z, before)
    check_complete(module, Overwriting().eval(), convention)


def test_a_forward_that_changes_its_module_is_named_as_such() -> None:
    module = Changing().eval()
    with pytest.raises(IntakeError, match="with the same latents it gives different images, because forward changes"):
        check_complete(module, Changing().eval(), find_convention(module, Z, 0))


@pytest.mark.parametrize("noise", [random.random, lambda: float(np.random.normal())])
def test_noise_of_numpy_or_python_is_named_as_such(noise: Callable[[], float]) -> None:
    class Noisy(Plain):
        def forward(self, z: Tensor) -> Tensor:
            return self.pixels(z + noise())

    module = Noisy().eval()
    with pytest.raises(IntakeError, match="forward draws random numbers from NumPy or Python: leave that noise out"):
        check_complete(module, Noisy().eval(), find_convention(module, Z, 0))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda module: module.seen.data.mul_(1.1), r"forward changes seen\.data"),
        (lambda module: module.seen.mul_(1.1), "forward changes the module itself"),
        (lambda _module: np.random.normal(), "random numbers from NumPy or Python"),
    ],
)
def test_what_changes_from_call_to_call_is_not_taken_for_several_ways_to_call(step: Any, reason: str) -> None:
    class EitherShape(Writing):
        def forward(self, z: Tensor) -> Tensor:
            return self.pixels(z.view(len(z), Z) + self.does(self)[:1])

    def moved(module: Writing) -> Tensor:
        return module.seen * torch.as_tensor(step(module), dtype=torch.float32)

    module = EitherShape(moved).eval()
    with pytest.raises(IntakeError, match=reason):
        check_complete(module, EitherShape(moved).eval(), find_convention(module, Z, 0))


@pytest.mark.parametrize(("made", "name"), [(Remembering, "noise"), (Growing, "last.weight")])
def test_what_the_first_call_draws_and_keeps_is_named(made: type[nn.Module], name: str) -> None:
    module, twin = made().eval(), made().eval()
    convention = find_convention(module, Z, 0)
    with pytest.raises(
        IntakeError, match=f"because {name} is drawn at random when it is constructed, or called for the"
    ):
        check_complete(module, twin, convention)


@pytest.mark.parametrize(
    ("does", "name"),
    [
        (assign, "layer.weight"),
        (scale, "layer.weight"),
        (lambda module: module.layer.weight.data.clamp_(-1, 1), "layer.weight"),
        (overwrite, "seen"),
    ],
)
def test_a_forward_that_writes_into_its_weights_is_told_how_to_do_without(does: Any, name: str) -> None:
    module = Writing(does).eval()
    with pytest.raises(IntakeError, match=rf"forward changes {name}\.data, which can't be traced"):
        check_complete(module, Writing(does).eval(), find_convention(module, Z, 0))


@pytest.mark.parametrize(
    "does",
    [
        lambda module: module.seen.copy_(torch.ones(4)),
        lambda module: module.seen[:2].fill_(1.0),
        lambda module: module.layer.weight.data * 2,
        lambda _module: torch.zeros(3).add_(1),
    ],
)
def test_a_forward_that_writes_elsewhere_or_into_a_buffer_itself_is_let_be(does: Any) -> None:
    module = Writing(does).eval()
    check_complete(module, Writing(does).eval(), find_convention(module, Z, 0))


@pytest.mark.parametrize("make", [lambda: torch.zeros(1, device="meta"), lambda: freed(3)])
def test_what_differs_is_found_beside_values_that_are_missing(make: Callable[[], Tensor]) -> None:
    module, twin = Remembering().eval(), Remembering().eval()
    for one in (module, twin):
        one.layer.beside = make()  # type: ignore[assignment]
    with pytest.raises(IntakeError, match="because noise is drawn at random"):
        check_complete(module, twin, find_convention(module, Z, 0))
