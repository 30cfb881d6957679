"""The certificate of an export: what the final file gives, beside what the generator gave before it was exported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .artifact import Manifest, run_session
from .artifact.candidate import CertificationError, Speeds, run_candidate
from .artifact.cases import Array, Cases
from .artifact.certificate import Certificate, Options, VariantCertificate
from .artifact.evidence import Evidence, Reference
from .artifact.first_line import first_line
from .artifact.providers import CPU, Provider
from .artifact.verify import summarise
from .calling.adapter import user_code
from .lowering import own_name
from .refusal import batch_hint
from .user_code.errors import describe_error

MOVED: Final = 1e-3  # pixels on [-1, 1]: far more than rounding, far less than a neighbour's influence

_TABLES: Final = ("_modules", "_parameters", "_buffers")  # of a module

Labels = NDArray[np.int64] | None


class ReferenceRunner(Protocol):
    """What a certificate compares with."""

    name: str
    in_train_mode: tuple[str, ...]  # layers that eval() does not reach

    def draw(self, z: NDArray[np.float32], label: Labels) -> tuple[Array, Array | None]:
        """Pixels (N, C, H, W) in float32 and, if there is such a reference, in float64."""
        ...


class EagerRunner:
    """The module in eager PyTorch on the CPU, in float32 and in a float64 copy.

    Raises:
        CertificationError: it can't be copied.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module32 = _copied(module).float().eval()
        self._module64: nn.Module | None = _copied(module).double().eval()
        children = self._module32.named_modules()
        self.in_train_mode = tuple(name or "the module itself" for name, child in children if child.training)
        self.name = "eager PyTorch on the CPU, eval mode"

    @torch.no_grad()
    def draw(self, z: NDArray[np.float32], label: Labels) -> tuple[Array, Array | None]:
        """Pixels in float32, and in float64 until the module fails in it once."""

        def given() -> list[Tensor]:
            # Copies: a forward may write into what it is given, and the cases are the other side's too.
            return [torch.from_numpy(part.copy()) for part in (z, label) if part is not None]

        with user_code():
            float32 = self._module32(*given()).float().numpy(force=True)
        if self._module64 is None:
            return float32, None
        try:
            latents, *labels = given()
            with user_code():
                return float32, self._module64(latents.double(), *labels).numpy(force=True)
        except Exception:  # noqa: BLE001 - it makes float32 tensors of its own, say, or asks for latents of float32
            self._module64 = None
            self.name += " (it can't run in float64)"
            return float32, None


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

    def __init__(self, content: bytes) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # what fails is told in one line
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def draw(self, z: NDArray[np.float32], label: Labels) -> tuple[Array, Array | None]:
        try:
            return run_session(self._session, z, label, pixels=True)[1], None
        except Exception as error:
            said = first_line(error)
            raise RuntimeError(f"{said}{batch_hint(said)}") from error


def runner_of(generator: nn.Module | onnx.ModelProto) -> ReferenceRunner:
    """The best reference there is for a generator."""
    if isinstance(generator, onnx.ModelProto):
        return GraphRunner(generator.SerializeToString())
    return EagerRunner(generator)


def ask_reference(
    runner: ReferenceRunner, cases: Cases, progress: Callable[[int, int], None] = lambda *_: None
) -> Reference:
    """Draw the cases that are compared with the reference, and look whether it keeps what the certificate promises.

    Args:
        progress: told (images so far, images in all).

    Raises:
        CertificationError: the reference fails on one of them.
    """
    float32: dict[str, Array] = {}
    float64: dict[str, Array] = {}
    compared = {name: case for name, case in cases.items() if case.compared}
    total, done, changed, moved = sum(len(case.z) for case in compared.values()), 0, 0, 0
    for name, case in compared.items():
        try:
            float32[name], exact = runner.draw(case.z, case.label)
        except Exception as error:
            raise CertificationError(
                f"the generator itself fails on {name}, a batch of {len(case.z)}: {first_line(error)}",
                code="dynamic_batch",
            ) from error
        if exact is not None:
            float64[name] = exact
        done += len(case.z)
        progress(done, total)
        first = float32.get(case.copy_of)
        if first is not None:
            difference = np.abs(float32[name] - first[case.start : case.start + len(case.z)])
            if len(first) == len(case.z):
                changed += int((difference > MOVED).sum())
            else:
                moved += int((difference.reshape(len(difference), -1).max(axis=1) > MOVED).sum())
    if len(float64) < len(float32):
        float64.clear()
    return Reference(float32, float64, runner.in_train_mode, changed, moved)


def certify_variant(
    directory: Path,
    manifest: Manifest,
    variant: str,
    cases: Cases,
    reference: Reference,
    options: Options,
    provider: Provider = CPU,
) -> tuple[VariantCertificate, Speeds]:
    """Compare one variant on disk with the reference; returns the measurements and the speeds.

    Raises:
        CertificationError: the file could not be run at all.
    """
    results, speeds = run_candidate(directory, variant, cases, provider, timed=True)
    evidence = Evidence(manifest, cases, results, reference, variant, provider)
    return summarise(evidence, options), speeds


def certificate_of(
    manifest: Manifest, results: list[VariantCertificate], reference: str, options: Options
) -> Certificate:
    """The document that is stored."""
    return Certificate(
        manifest_identity=manifest.identity(),
        reference=reference,
        options=options,
        results=results,
        variants_sha256=manifest.variants_digest(),
    ).sealed()
