"""What a certificate compares with: the generator as it was before it was exported."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .artifact import run_session
from .artifact.candidate import CertificationError
from .artifact.cases import Array
from .artifact.first_line import first_line
from .calling.adapter import user_code
from .lowering import own_name
from .refusal import batch_hint
from .user_code.errors import describe_error

_TABLES: Final = ("_modules", "_parameters", "_buffers")  # of a module

Labels = NDArray[np.int64] | None


class ReferenceRunner(Protocol):
    """What a certificate compares with."""

    name: str
    in_train_mode: tuple[str, ...]  # layers that eval() does not reach
    exact: bool  # whether it draws in float64 too, as far as is known

    def draw(self, z: NDArray[np.float32], label: Labels) -> Array:
        """Pixels (N, C, H, W) in float32."""
        ...

    def draw_exactly(self, z: NDArray[np.float32], label: Labels) -> Array | None:
        """The same in float64; None if it can't, and is no longer `exact`."""
        ...


class EagerRunner:
    """The module in eager PyTorch on the CPU, in float32 and in a float64 copy.

    Raises:
        CertificationError: it can't be copied.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module32 = _copied(module).float().eval()
        self._module64 = _copied(module).double().eval()
        self.exact = True
        children = self._module32.named_modules()
        self.in_train_mode = tuple(name or "the module itself" for name, child in children if child.training)
        self.name = "eager PyTorch on the CPU, eval mode"

    @torch.no_grad()
    def draw(self, z: NDArray[np.float32], label: Labels) -> Array:
        """Pixels in float32."""
        with user_code():
            pixels: Array = self._module32(*_given(z, label)).float().numpy(force=True)
        return pixels

    @torch.no_grad()
    def draw_exactly(self, z: NDArray[np.float32], label: Labels) -> Array | None:
        """Pixels in float64; None if the module fails in it, as one does that makes float32 tensors of its own."""
        try:
            latents, *labels = _given(z, label)
            with user_code():
                pixels: Array = self._module64(latents.double(), *labels).numpy(force=True)
        except Exception:  # noqa: BLE001 - it is somebody's own code
            self.exact = False
            self.name += " (it can't run in float64)"
            return None
        return pixels


def _given(z: NDArray[np.float32], label: Labels) -> list[Tensor]:
    # Copies: a forward may write into what it is given, and the cases are the other side's too.
    return [torch.from_numpy(part.copy()) for part in (z, label) if part is not None]


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:
        what = next(_not_copied(module), f"all of it: {describe_error(error)}")
        raise CertificationError(f"the generator can't be copied for comparison, because of {what}") from error


def _not_copied(module: nn.Module) -> Iterator[str]:
    """The attributes that a copy fails on, each with the reason and what to do."""
    for path, part in module.named_modules():
        for name, value in (vars(part) | part._parameters | part._buffers).items():
            if name in _TABLES:
                continue
            try:
                copy.deepcopy(value)
            except Exception as error:  # noqa: BLE001 - it may be anything
                where = own_name(f"{path}.{name}".lstrip("."))
                if isinstance(value, Tensor) and value.grad_fn is not None:
                    yield f"its attribute {where}, which was computed from parameters: compute it in forward"
                else:
                    yield f"its attribute {where}: {describe_error(error)}; create it outside the class"


class GraphRunner:
    """A graph made elsewhere, run without ONNX Runtime's optimisations: the next best to its author's module."""

    name = "ONNX Runtime without graph optimisations (the graph was made elsewhere: there is no module to compare with)"
    in_train_mode: tuple[str, ...] = ()
    exact = False

    def __init__(self, content: bytes) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # what fails is told in one line
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def draw(self, z: NDArray[np.float32], label: Labels) -> Array:
        """Pixels in float32."""
        try:
            pixels: Array = run_session(self._session, z, label, pixels=True)[1]
            return pixels
        except Exception as error:
            said = first_line(error)
            raise RuntimeError(f"{said}{batch_hint(said)}") from error

    def draw_exactly(self, _z: NDArray[np.float32], _label: Labels) -> None:
        """Nothing: the graph computes in its own types."""


def runner_of(generator: nn.Module | onnx.ModelProto) -> ReferenceRunner:
    """The best reference there is for a generator."""
    if isinstance(generator, onnx.ModelProto):
        return GraphRunner(generator.SerializeToString())
    return EagerRunner(generator)
