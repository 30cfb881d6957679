"""Generators of strangers that do unusual things in forward: what is said of them, and what must not be spoiled."""

import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from author_modules import Plain, Z, freed
from torch import Tensor, nn

from gan_export.artifact.candidate import CertificationError
from gan_export.calling.adapter import Adapted, measure_range
from gan_export.calling.convention_search import Asked, find_convention
from gan_export.reference import EagerRunner
from gan_export.refusal import IntakeError


class Scaled(Plain):
    def forward(self, z: Tensor, alpha: Tensor) -> Tensor:
        return self.pixels(z) * alpha


class Labelled(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, Z)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return self.pixels(z + self.table(label))


class Small(Plain):
    def forward(self, z: Tensor) -> Tensor:
        if len(z) > 12:
            raise ValueError("at most 12")
        return self.pixels(z)


class Leaving(Plain):
    def forward(self, z: Tensor) -> Tensor:
        raise SystemExit(len(z))


class Stop(BaseException):
    pass


class Stopping(Plain):
    def forward(self, z: Tensor) -> Tensor:
        raise Stop(f"at {len(z)}")


class Interrupted(Plain):
    def forward(self, z: Tensor) -> Tensor:
        raise KeyboardInterrupt(len(z))


class Locked(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.layer.lock = threading.Lock()


class Computed(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.twice = self.layer.weight * 2


class NeverCopied(Plain):
    def __deepcopy__(self, memo: object) -> "NeverCopied":
        raise ValueError("there is one of me")


class Asserting(Plain):
    def forward(self, z: Tensor) -> Tensor:
        assert z.dtype == torch.float32
        return self.pixels(z)


class Checking(Plain):
    def forward(self, z: Tensor) -> Tensor:
        if z.dtype != torch.float32:
            raise TypeError("float32 only")
        return self.pixels(z)


class LeavingInFloat64(Plain):
    def forward(self, z: Tensor) -> Tensor:
        if z.dtype != torch.float32:
            raise SystemExit(1)
        return self.pixels(z)


def refused(module: nn.Module, classes: int = 0) -> str:
    with pytest.raises(IntakeError) as caught:
        find_convention(module.eval(), Z, classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_second_argument_of_any_name_is_not_taken_for_a_label() -> None:
    said = refused(Scaled())
    assert "If alpha is its label, give --classes K; if it is a setting, --forward alpha=VALUE; if it is a" in said
    assert "If alpha is not its label, leave out --classes and give --forward alpha=VALUE." in refused(Scaled(), 3)
    assert find_convention(Scaled().eval(), Z, 0, Asked(extras=(("alpha", 1.0),))).image_shape == (1, 8, 8)


def test_one_class_too_many_is_found_at_once() -> None:
    assert find_convention(Labelled().eval(), Z, 5).label == "ids"
    for classes in (6, 30):
        assert "IndexError: index out of range in self" in refused(Labelled(), classes)


@pytest.mark.parametrize("classes", [0, 5])
def test_a_forward_that_takes_a_list_of_latents_is_told_to_be_wrapped(classes: int) -> None:
    class Mixing(Labelled):
        """As StyleGAN2 mixes styles: a batch given as it is would be taken for a list of vectors."""

        def forward(self, styles: list[Tensor], label: Tensor | None = None, weight: float = 0.5) -> tuple[Any, Any]:
            latents = [style / style.norm(dim=1, keepdim=True) for style in styles]
            mixed = latents[0] if len(latents) < 2 else latents[0].lerp(latents[1], weight)
            return self.pixels(mixed if label is None else mixed + self.table(label)), None

    class Wrapped(Mixing):
        def forward(self, z: Tensor, label: Tensor | None = None) -> Any:
            return super().forward([z], label)

    assert "forward takes latents in a list, styles=[z]: write a subclass" in refused(Mixing(), classes)
    assert find_convention(Wrapped().eval(), Z, classes).output == (0,)


class Made(Plain):
    """Does something to its pixels."""

    def __init__(self, does: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.does = does

    def forward(self, z: Tensor) -> object:
        return self.does(self.pixels(z))


def free(pixels: Tensor) -> Tensor:
    pixels.untyped_storage().resize_(0)
    return pixels


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (lambda pixels: pixels * freed(8, 8), "aten.mul.Tensor has the shape (8, 8), which takes 256 bytes, and its"),
        (free, "forward's output has the shape"),
        (lambda pixels: [pixels.new_ones(1), free(pixels)], "forward's output[1] has the shape"),
        (lambda pixels: pixels.to("meta"), "forward's output is on the device 'meta', which holds no data"),
    ],
)
def test_values_that_are_not_there_are_not_read(does: Any, reason: str) -> None:
    assert reason in refused(Made(does))


@pytest.mark.parametrize("make", [lambda: torch.zeros(1, device="meta"), lambda: freed(3)])
def test_values_that_no_image_comes_from_may_be_missing(make: Callable[[], Tensor]) -> None:
    found = find_convention(Made(lambda pixels: {"image": pixels, "beside": make()}).eval(), Z, 0)
    assert found.output == ("image",)


class Attending(Plain):
    """PyTorch packs what a mask of padding leaves into a nested tensor, which has no shape."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(Z, nhead=2, dim_feedforward=8, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, z: Tensor) -> Tensor:
        padding = torch.tensor([False, False, False, True]).expand(len(z), 4)
        words = self.encoder(z[:, None].repeat(1, 4, 1), src_key_padding_mask=padding)
        return self.pixels(words[:, 0])


def test_nested_tensors_are_let_be() -> None:
    assert find_convention(Attending().eval(), Z, 0).image_shape == (1, 8, 8)


def test_a_batch_of_one_that_is_built_in_is_named() -> None:
    said = refused(Made(lambda pixels: pixels.view(1, 1, 8, 8)))
    assert "If that 1 is the batch size, write -1 or x.shape[0]" in said


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (Tensor.to_sparse, "(N, 1, 8, 8) of sparse_coo: end forward with .to_dense()"),
        (lambda pixels: torch.complex(pixels, pixels), "of complex64: end forward with .real"),
        (
            lambda pixels: torch.quantize_per_tensor(pixels, 0.1, 0, torch.qint8),
            "qint8: end forward with .dequantize()",
        ),
        (Tensor.int, "of int32: end forward with .float()"),
        (
            lambda pixels: torch.nested.nested_tensor(list(pixels)),
            "it gives a nested tensor: end forward with torch.stack(images.unbind())",
        ),
        (
            lambda pixels: torch.nested.nested_tensor(list(pixels), layout=torch.jagged),
            "it gives a nested tensor: end forward with torch.stack(images.unbind())",
        ),
    ],
)
def test_images_of_other_kinds_are_told_how_to_become_floats(does: Any, words: str) -> None:
    assert words in refused(Made(does))


def test_a_negated_view_is_drawn_as_it_is() -> None:
    """PyTorch keeps the sign of a conjugate's imaginary part as a mark, which NumPy does not know."""
    z = np.random.default_rng(0).normal(size=(3, Z)).astype(np.float32)
    net = Made(lambda pixels: torch.complex(pixels, pixels).conj().imag).eval()
    runner = EagerRunner(net)
    float32, float64 = runner.draw(z, None), runner.draw_exactly(z, None)
    assert np.allclose(float32, -net.pixels(torch.from_numpy(z)).detach().numpy())
    assert float64 is not None


def test_what_fails_at_larger_batches_is_one_line() -> None:
    module = Small().eval()
    with pytest.raises(IntakeError, match=r"forward fails on a batch of 16 latents: ValueError: at most 12 \(test_odd"):
        measure_range(module, find_convention(module, Z, 0))


def test_a_forward_that_ends_the_program_is_a_failure() -> None:
    assert "RuntimeError: it ends the program (exit code 5, at test_odd_modules.py:" in refused(Leaving())


def test_that_of_an_installed_package_ends_it_at_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sysconfig.get_paths() | {"purelib": str(Path(__file__).parent)}
    monkeypatch.setattr(sysconfig, "get_paths", lambda: paths)
    assert "it ends the program (exit code 5). " in refused(Leaving())


def test_what_forward_raises_is_a_failure_whatever_it_is_but_for_ctrl_c() -> None:
    assert "it raises Stop: at 5 (test_odd_modules.py:" in refused(Stopping())
    with pytest.raises(KeyboardInterrupt):
        find_convention(Interrupted().eval(), Z, 0)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (
            Locked,
            "its attribute layer.lock: TypeError: cannot pickle '_thread.lock' object; create it outside the class",
        ),
        (Computed, "its attribute twice, which was computed from parameters: compute it in forward"),
        (NeverCopied, "all of it: ValueError: there is one of me (test_odd_modules.py:"),
    ],
)
def test_a_module_that_can_t_be_copied_is_refused_with_the_attribute(module: type[Plain], reason: str) -> None:
    made = module().eval()
    convention = find_convention(made, Z, 0)
    with pytest.raises(CertificationError) as caught:
        EagerRunner(Adapted(made, convention))
    assert f"the generator can't be copied for comparison, because of {reason}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("module", [Asserting, Checking, LeavingInFloat64])
def test_what_can_only_be_run_in_float32_is_compared_in_float32(module: type[Plain]) -> None:
    runner = EagerRunner(module().eval())
    z = np.zeros((2, Z), np.float32)
    assert runner.exact
    assert runner.draw(z, None).shape == (2, 1, 8, 8)
    assert runner.draw_exactly(z, None) is None
    assert not runner.exact
    assert runner.name == "eager PyTorch on the CPU, eval mode (it can't run in float64)"
