"""nn.Module -> ONNX bytes with the artifact's signature, and nothing of this machine inside."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, Final, cast

import onnx
import onnx_ir
import torch
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic_shapes_config
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.nn.utils import parametrize

from .artifact import IMAGE_OUTPUT, LABEL_INPUT, LATENT_INPUT, PIXELS_OUTPUT
from .artifact.first_line import first_line
from .artifact.manifest import IDENTITY_KEY
from .artifact.runtime import open_cpu
from .capture_errors import CaptureError, causes_of, conversion_error, trace_error
from .data_reads import DataAsDetached, holds_valueless
from .lowering import SOURCE_OPSET, LoweringError, lower
from .per_sample import PerSampleConvolutions
from .rewrite import same_in_any_batch

BATCH: Final = "batch"
EXAMPLE_BATCH: Final = 3  # 1 would hide a squeeze, 2 a broadcast
NOTES: Final = ("doc_string", "metadata_props", "value_info")  # the last: sizes by symbols of this run

# What torch.export, the exporter, its optimiser and a user's forward have been seen to raise.
FAULTS: Final = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, ImportError)


class _ServingGraph(nn.Module):
    """A generator with the tail that serving needs: uint8 images, rounded half to even, beside the float pixels."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        pixels: Tensor = self.generator(z) if label is None else self.generator(z, label)
        image = ((pixels + 1.0) * 127.5).round().clamp(0.0, 255.0).to(torch.uint8)
        return image, pixels


def capture(generator: nn.Module, latent_dim: int, classes: int) -> onnx.ModelProto:
    """Trace an eval-mode generator into a checked ONNX graph (opset 17, one file, dynamic batch).

    Args:
        generator: called as generator(z) or generator(z, label); z (N, latent_dim), label (N,) int64.
        latent_dim: length of a latent vector.
        classes: number of classes, 0 for an unconditional generator.

    Raises:
        CaptureError: it can't be traced, or ONNX can't express what it does.
    """
    rng = torch.Generator().manual_seed(0)
    example = {LATENT_INPUT: torch.randn(EXAMPLE_BATCH, latent_dim, generator=rng)}
    if classes:
        example[LABEL_INPUT] = torch.arange(EXAMPLE_BATCH) % classes
    return express(_ServingGraph(_folded(generator)).eval(), example, (IMAGE_OUTPUT, PIXELS_OUTPUT))


def express(module: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """Any module as a checked ONNX graph of opset 17 whose first dimensions are all the batch.

    Args:
        module: in eval mode, called with the examples by position; gives as many tensors as `outputs` has names.
        example: the inputs by name, each (N, ...) with the same N > 1.
        outputs: names of the outputs.

    Raises:
        CaptureError: it can't be traced, or ONNX can't express what it does.
    """
    with _quiet():
        program = _trace(module, tuple(example.values()))
        try:
            converted = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=SOURCE_OPSET,
                input_names=list(example),
                output_names=list(outputs),
                optimize=False,
                verbose=False,
            )
            assert converted is not None
            _simplify(converted.model)
            model = same_in_any_batch(lower(converted.model_proto))
        except LoweringError as error:
            raise CaptureError(
                f"the generator can't be expressed in ONNX: {error}", code="unsupported_operator"
            ) from error
        except FAULTS as error:
            raise conversion_error(error) from error
    _name_batch(model)
    _clean(model)
    _check(model, has_bfloat16=_has_bfloat16(program))
    return model


def _check(model: onnx.ModelProto, *, has_bfloat16: bool) -> None:
    """Raises CaptureError if the graph is not valid, or computes in bfloat16."""
    try:
        onnx.checker.check_model(model, full_check=True)
        if has_bfloat16:  # of which ONNX Runtime can convert and move numbers, and little else
            open_cpu(model.SerializeToString())
    except Exception as error:
        if has_bfloat16:
            raise CaptureError(
                f"the generator computes in bfloat16, which ONNX Runtime can't do ({first_line(error)}): in forward, "
                "leave out .bfloat16() and torch.autocast, or give that enabled=False",
                code="unsupported_operator",
            ) from error
        raise CaptureError(f"the graph that torch.onnx made is not valid: {first_line(error)}") from error


def _has_bfloat16(program: torch.export.ExportedProgram) -> bool:
    """Whether any value of it is of that type."""
    graphs = (part.graph for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule))
    values = (node.meta.get("val") for graph in graphs for node in graph.nodes)
    return any(isinstance(value, Tensor) and value.dtype == torch.bfloat16 for value in values)


def _simplify(model: onnx_ir.Model) -> None:
    """Fold constants, drop what is not used.

    Not with torch.onnx's optimize=True: its rules take x + 1e-8 for x, x * 1.00001 for x, and a PixelNorm of zeros,
    x / sqrt(mean(x^2) + 1e-8), would be NaN.
    """
    passes.InlinePass()(model)
    fold_constants(model, onnx_shape_inference=True)
    for step in (
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        step(model)


def seal(model: onnx.ModelProto, identity: str) -> bytes:
    """The file's bytes, with the manifest's identity in its metadata."""
    sealed = onnx.ModelProto()
    sealed.CopyFrom(model)
    onnx.helper.set_model_props(sealed, {IDENTITY_KEY: identity})
    return bytes(sealed.SerializeToString(deterministic=True))


def _folded(generator: nn.Module) -> nn.Module:
    """A copy whose parametrised weights (spectral norm, orthogonal, ...) are plain ones; the same if there are none."""
    if not any(parametrize.is_parametrized(module) for module in generator.modules()):
        return generator
    folded = copy.deepcopy(generator).eval()
    for module in list(folded.modules()):
        if parametrize.is_parametrized(module):
            names = list(cast(nn.ModuleDict, module.parametrizations))
            weights = {name: getattr(module, name).detach() for name in names}
            # Not remove_parametrizations: it would take them from the class, which the copy shares with the original.
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module.parametrizations
            for name, weight in weights.items():
                module.register_parameter(name, nn.Parameter(weight, requires_grad=False))
    return folded


def _trace(module: nn.Module, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """By running it, then by reading its byte code, which also understands `len(x)` and `int(x.shape[0])`.

    Code that asks whether the batch is 1 is traced as for larger ones; the certificate tells whether 1 is the same.
    """
    first: Exception | None = None
    for strict, least in ((False, 1), (False, 2), (True, 1), (True, 2)):
        batch = torch.export.Dim(BATCH, min=least)
        shapes = tuple({0: batch} for _ in example)
        try:
            # Oblivious: a batch of 1 is not a special case.
            with symbolic_shapes_config.patch(backed_size_oblivious=True), PerSampleConvolutions(), DataAsDetached():  # type: ignore[attr-defined]
                program = torch.export.export(module, example, dynamic_shapes=shapes, strict=strict)
        except Exception as error:  # noqa: BLE001 - somebody else's forward may raise anything
            first = first or error
            if any(isinstance(cause, GuardOnDataDependentSymNode) for cause in causes_of(error)):
                break
        else:
            if holds_valueless(program):
                raise CaptureError("the generator can't be traced: it reads the .data of a tensor: use .detach()")
            return program
    assert first is not None
    raise trace_error(first) from first


def _name_batch(model: onnx.ModelProto) -> None:
    """The first dimension of every output is the batch, which the certificate confirms."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name in {given.name for given in model.graph.input} and not dims[0].dim_param:
            raise CaptureError(f"the generator is made for batches of {dims[0].dim_value}", code="dynamic_batch")
        if dims and dims[0].HasField("dim_param"):
            dims[0].dim_param = BATCH


def _clean(message: Any) -> None:
    """Drop stack traces, source paths and exporter notes, which name files of the exporting machine, at any depth."""
    if isinstance(message, onnx.ModelProto):
        message.graph.name = "generator"
    for note in NOTES:
        if note in message.DESCRIPTOR.fields_by_name:
            message.ClearField(note)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else [value]:
                _clean(child)


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.export and torch.onnx talk about their own internals on four channels; none of it helps a user."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
