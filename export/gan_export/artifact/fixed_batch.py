"""A session that always runs batches of one size, in memory that stays where it is.

Libraries of a GPU choose the kernel of a product or a convolution by its size, and another kernel adds in another
order: the same image, drawn alone and in a batch, would differ in its last bits. With one size there is one kernel,
and the images are the same to the byte. A fixed size is also what a CUDA graph needs, which starts all kernels at once.

Everything that uses the GPU does so in one thread of the process. ONNX Runtime keeps a stream, its libraries' handles
and its CUDA graphs for each thread that calls it, and memory that one thread asks for or gives back breaks the
recording of another one's graph.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from .manifest import LATENT_INPUT, Manifest, TensorSpec

if TYPE_CHECKING:
    import onnxruntime as ort

_T = TypeVar("_T")
_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="gpu")


def on_gpu_thread(work: Callable[[], _T]) -> _T:
    """What `work` returns or raises, done in the thread that uses the GPU; not to be called from that thread."""
    return _THREAD.submit(work).result()


class FixedBatchSession:
    """Runs like an `onnxruntime.InferenceSession`: smaller batches are filled up, larger ones are cut."""

    def __init__(self, session: ort.InferenceSession, manifest: Manifest, batch: int, device: str = "cuda") -> None:
        """Allocate inputs and outputs.

        Args:
            session: on the artifact's graph, opened in the GPU's thread.
            manifest: of that artifact.
            batch: images in every run, at least 1.
            device: where the session computes, as ONNX Runtime names it: cuda or cpu.
        """
        self.batch = batch
        self._bound = on_gpu_thread(partial(_Bound, session, manifest, batch, device))
        # The last reference must be given up in the GPU's thread too.
        weakref.finalize(self, _give_up, [self._bound]).atexit = False

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """These outputs for inputs of any batch size N >= 1; from any thread, one after another."""
        return on_gpu_thread(partial(self._bound.run, output_names, input_feed))

    def get_session_options(self) -> ort.SessionOptions:
        """As the session's own."""
        return self._bound.session.get_session_options()


class _Bound:
    """A session and its memory, for the GPU's thread."""

    def __init__(self, session: ort.InferenceSession, manifest: Manifest, batch: int, device: str) -> None:
        self.session = session
        self._batch = batch
        self._rows = {spec.name: np.zeros(_shape(spec, batch), spec.dtype) for spec in manifest.inputs}
        self._inputs = {spec.name: _allocate(spec, batch, device) for spec in manifest.inputs}
        self._outputs = {spec.name: _allocate(spec, batch, device) for spec in manifest.outputs}
        # numpy() copies what is on a GPU; of what is in the processor's memory it is the memory itself.
        self._is_shared = device == "cpu"
        self._binding = session.io_binding()
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, names: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        count = len(feed[LATENT_INPUT])
        parts = [self._run_rows(names, feed, first) for first in range(0, count, self._batch)]
        return parts[0] if len(parts) == 1 else [np.concatenate(each) for each in zip(*parts, strict=True)]

    def _run_rows(self, names: Sequence[str], feed: Mapping[str, NDArray[Any]], first: int) -> list[NDArray[Any]]:
        """One run, of the rows from `first` on; in the rows that are not needed stays what was there."""
        count = min(len(feed[LATENT_INPUT]) - first, self._batch)
        for name, value in self._inputs.items():
            self._rows[name][:count] = feed[name][first : first + count]
            value.update_inplace(self._rows[name])
        self.session.run_with_iobinding(self._binding)
        return [self._rows_of(self._outputs[name], count) for name in names]

    def _rows_of(self, value: ort.OrtValue, count: int) -> NDArray[Any]:
        rows: NDArray[Any] = value.numpy()[:count]
        return rows.copy() if self._is_shared else rows


def _give_up(bound: list[_Bound]) -> None:
    """Forget it in the GPU's thread. The garbage collector may call this while a thread hands over work to any pool,
    with a lock that handing over takes: so another thread does it."""
    threading.Thread(target=on_gpu_thread, args=(bound.clear,), daemon=True).start()


def _shape(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    return (batch, *(int(size) for size in spec.shape[1:]))


def _allocate(spec: TensorSpec, batch: int, device: str) -> ort.OrtValue:
    import onnxruntime as ort  # here: a process that opens no session, as a server's first one, starts without it

    return ort.OrtValue.ortvalue_from_shape_and_type(_shape(spec, batch), np.dtype(spec.dtype).type, device, 0)
