"""What people do to get an ONNX file that they can trust: torch.onnx.export with verify=True, and np.allclose."""

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

FAILED_STEPS = {  # of verify=True, as torch.onnx prints them
    "Check the ONNX model": "the checker fails",
    "Execute the model with ONNX Runtime": "ONNX Runtime fails",
    "Verify output accuracy": "differs",
}


class PlainExport:
    """A module and its ONNX file with a dynamic batch, made when it is first asked for.

    Args:
        module: in eval mode; called with tensors by position.
        example: its arguments, each (N, ...).
    """

    def __init__(self, module: nn.Module, example: tuple[Tensor, ...]) -> None:
        self.module = module
        self.example = example
        self.said: list[str] = []  # by torch.onnx, of what its verification did not like

    @functools.cached_property
    def outcome(self) -> bytes | Exception:
        """The file, or what torch.onnx.export raised instead."""
        shapes = tuple({0: "batch"} for _ in self.example)
        with listening(self.said):
            try:
                program = torch.onnx.export(self.module, self.example, dynamo=True, verify=True, dynamic_shapes=shapes)
            except Exception as error:  # noqa: BLE001 - raised again for each who asks for the file
                return error
        assert program is not None  # dynamo=True gives one
        return bytes(program.model_proto.SerializeToString())

    def file(self) -> bytes:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def compare(self, given: tuple[Tensor, ...], *, rtol: float, atol: float, optimise: bool = True) -> str:
        """What differs between ONNX Runtime's output and the eager module's, in a few words; "" if they are close."""
        options = ort.SessionOptions()
        options.log_severity_level = 4
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(self.file(), options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        feed = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
        (found,) = session.run(None, feed)
        with torch.no_grad():
            expected = self.module(*given).numpy()
        if found.shape != expected.shape:
            return f"shape {found.shape}"
        close = np.allclose(found, expected, rtol=rtol, atol=atol)
        return "" if close else f"differs by {np.abs(found - expected).max():.2g}"


class Differences(logging.Handler):
    """What torch.onnx logs of outputs that differ."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("Output '%s' has a large") and isinstance(record.args, tuple):
            self.said.append(f"differs by {record.args[1]:.2g}")


@contextlib.contextmanager
def listening(said: list[str]) -> Iterator[None]:
    """Keep torch.onnx quiet, and note what it says of its verification: first in its log, then on stdout."""
    log = logging.getLogger("torch.onnx")
    handlers, propagate = log.handlers, log.propagate
    log.handlers, log.propagate = [Differences(said)], False
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.handlers, log.propagate = handlers, propagate
    lines = [line.removeprefix("[torch.onnx] ") for line in printed.getvalue().splitlines()]
    said.extend(words for step, words in FAILED_STEPS.items() if f"{step}... ❌" in lines)
