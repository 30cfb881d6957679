"""nn.Module -> ONNX bytes with the artifact's signature, and nothing of this machine inside."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import onnx
import torch
from torch import Tensor, nn

from .artifact import IMAGE_OUTPUT, LABEL_INPUT, LATENT_INPUT, PIXELS_OUTPUT
from .artifact.manifest import IDENTITY_KEY

OPSET = 17
BATCH = "batch"


class CaptureError(RuntimeError):
    """torch.onnx could not express the generator; the message is one line."""


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
        CaptureError: the exporter could not trace it, or the graph it made is not valid.
    """
    rng = torch.Generator().manual_seed(0)
    example = [torch.randn(3, latent_dim, generator=rng)]
    names = [LATENT_INPUT]
    if classes:
        example.append(torch.arange(3) % classes)
        names.append(LABEL_INPUT)
    batch = torch.export.Dim(BATCH, min=1)
    try:
        with _quiet():
            program = torch.onnx.export(
                _ServingGraph(generator).eval(),
                tuple(example),
                dynamo=True,
                opset_version=OPSET,
                input_names=names,
                output_names=[IMAGE_OUTPUT, PIXELS_OUTPUT],
                dynamic_shapes=tuple({0: batch} for _ in example),
                optimize=True,
                verbose=False,
            )
        assert program is not None
        model = _clean(program.model_proto)
        onnx.checker.check_model(model, full_check=True)
    except (
        torch.onnx.OnnxExporterError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise CaptureError(f"the generator can't be expressed in ONNX: {_reason(error)}") from error
    version = {opset.domain: opset.version for opset in model.opset_import}
    if version != {"": OPSET}:
        raise CaptureError(f"the graph uses operator sets {version}, not opset {OPSET} of the standard domain alone")
    return model


def seal(model: onnx.ModelProto, identity: str) -> bytes:
    """The file's bytes, with the manifest's identity in its metadata."""
    sealed = onnx.ModelProto()
    sealed.CopyFrom(model)
    onnx.helper.set_model_props(sealed, {IDENTITY_KEY: identity})
    return bytes(sealed.SerializeToString(deterministic=True))


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without stack traces, source paths and exporter notes, which name files of the exporting machine."""
    model.doc_string = ""
    model.graph.doc_string = ""
    model.graph.name = "generator"
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for item in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        item.doc_string = ""
        del item.metadata_props[:]
    for initializer in model.graph.initializer:
        initializer.doc_string = ""
        del initializer.metadata_props[:]
    return model


def _reason(error: BaseException) -> str:
    """The first line of the cause; torch.onnx wraps it in advice to its own developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.onnx talks about its own internals on three channels; none of it helps a user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
