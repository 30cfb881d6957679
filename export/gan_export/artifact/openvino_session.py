"""A session of OpenVINO, which draws on the processor: every run of the same number of images, several side by side.

OpenVINO compiles a graph for the shapes of its inputs, and another shape may add in another order: the same image,
drawn alone and in a batch, could differ in its last bits. So there is one shape, of few images, and each of them is
computed on one core: as many runs side by side as there are cores.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from .manifest import IDENTITY_KEY, IMAGE_OUTPUT, LABEL_INPUT, LATENT_INPUT, PIXELS_OUTPUT
from .pixels import to_uint8

if TYPE_CHECKING:
    import onnxruntime as ort
    import openvino

RUN_OPERATIONS: Final = 50e6
"""Floating-point operations that a run has at least, as far as MAX_RUN images do: starting one costs as much time."""
MAX_RUN: Final = 16
"""Images in a run at most."""
_ONE_AT_A_TIME: Final = threading.Lock()
_NAMES: Final = (LATENT_INPUT, LABEL_INPUT, IMAGE_OUTPUT, PIXELS_OUTPUT)


def openvino_core() -> openvino.Core:
    """OpenVINO's core, the same one until the process ends; from any thread.

    Its plugin for processors gives the thread that loads it a stack for signals, and takes it away with the core. Of
    two cores, the one that goes first would leave the other's thread a stack that is no longer there: the next signal,
    Ctrl-C or SIGTERM, would end the process with SIGSEGV.
    """
    with _ONE_AT_A_TIME:
        return _core()


@lru_cache
def _core() -> openvino.Core:
    import openvino  # here: an extra

    return openvino.Core()


class OpenVinoSession:
    """Runs like an `onnxruntime.InferenceSession`; from any thread, one batch after another."""

    def __init__(self, content: bytes, options: Mapping[str, str], cores: int) -> None:
        """Compile a graph.

        Args:
            content: the ONNX file of an artifact.
            options: OpenVINO's properties, e.g. its precision.
            cores: runs side by side, at least 1.

        Raises:
            RuntimeError: OpenVINO can't read or compile it.
        """
        import openvino  # here: only where it is asked for, and an extra

        core = openvino_core()
        model = core.read_model(content, b"")
        self.inputs = [_name_of(port) for port in model.inputs]
        self.outputs = [_name_of(port) for port in model.outputs]
        self.identity = _identity_of(model)
        # Bytes are made of the pixels here, in float32: in the graph, OpenVINO rounds one in some ten thousands to the
        # other side, and bfloat16 has 8 bits for the values that are rounded.
        model = openvino.Model([model.output(PIXELS_OUTPUT)], model.get_parameters())
        self.images_per_run = _images_per_run(model)
        _fix_batch(model, self.images_per_run)
        sharing = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(cores), "INFERENCE_NUM_THREADS": str(cores)}
        compiled = core.compile_model(model, "CPU", {**options, **sharing, "ENABLE_CPU_PINNING": "NO"})
        self._runs = [_Run(compiled, self.inputs) for _ in range(cores)]
        self._shape = tuple(compiled.output(0).shape)[1:]
        self._lock = threading.Lock()

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """These outputs for inputs of any batch size N >= 1."""
        pixels = np.empty((len(input_feed[LATENT_INPUT]), *self._shape), np.float32)
        with self._lock:
            for number, first in enumerate(range(0, len(pixels), self.images_per_run)):
                rows = slice(first, first + self.images_per_run)
                run = self._runs[number % len(self._runs)]
                run.finish()
                run.start({name: values[rows] for name, values in input_feed.items()}, pixels[rows])
            for run in self._runs:
                run.finish()
        made = {PIXELS_OUTPUT: pixels}
        if IMAGE_OUTPUT in output_names:
            made[IMAGE_OUTPUT] = to_uint8(pixels)
        return [made[name] for name in output_names]

    def get_session_options(self) -> ort.SessionOptions:
        """Its number of threads, as ONNX Runtime states one."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = len(self._runs)
        return options


class _Run:
    """One run's memory in OpenVINO, and where its images belong."""

    def __init__(self, compiled: openvino.CompiledModel, inputs: Sequence[str]) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = {name: self._request.get_input_tensor(i).data for i, name in enumerate(inputs)}
        for values in self._inputs.values():
            values[...] = 0  # what lies there by chance would be no label, and looked up anywhere
        self._output = self._request.get_output_tensor(0).data
        self._target: NDArray[np.float32] | None = None

    def start(self, rows: Mapping[str, NDArray[Any]], target: NDArray[np.float32]) -> None:
        """Draw `rows`, as many as a run has at most; what is not needed stays what was there."""
        for name, values in self._inputs.items():
            values[: len(target)] = rows[name]
        self._target = target
        self._request.start_async()

    def finish(self) -> None:
        """Wait until `target` is filled, if anything was started."""
        target, self._target = self._target, None
        if target is not None:
            self._request.wait()
            target[...] = self._output[: len(target)]


def _identity_of(model: openvino.Model) -> str:
    """What the file's metadata say of its manifest; empty if nothing."""
    path = ["framework", IDENTITY_KEY]
    return str(model.get_rt_info(path).value) if model.has_rt_info(path) else ""


def _name_of(port: Any) -> str:
    """What the artifact calls an input or output. OpenVINO adds the names of tensors that it finds to be the same."""
    names = port.names
    return next((name for name in _NAMES if name in names), port.any_name)


def _fix_batch(model: openvino.Model, images: int) -> None:
    """Have all inputs hold so many."""
    rows = ([size.get_length() for size in list(port.partial_shape)[1:]] for port in model.inputs)
    model.reshape({i: [images, *row] for i, row in enumerate(rows)})


def _images_per_run(model: openvino.Model) -> int:
    """A power of two, by the work that an image is: the same on every host, because images depend on it."""
    model = model.clone()
    _fix_batch(model, 1)
    operations = sum(map(_operations_of, model.get_ops()))
    images = 1
    while images < MAX_RUN and images * operations < RUN_OPERATIONS:
        images *= 2
    return images


def _operations_of(node: Any) -> float:
    """Floating-point operations of a convolution or a matrix product; 0 of anything else."""
    kind = node.get_type_name()
    if kind == "MatMul":
        return float(2 * math.prod(node.output(0).get_shape()) * node.input(0).get_shape()[-1])
    if kind not in ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"):
        return 0.0
    weights = math.prod(node.input(1).get_shape())
    positions = node.input(0).get_shape()[2:] if "Backprop" in kind else node.output(0).get_shape()[2:]
    return float(2 * weights * math.prod(positions))
