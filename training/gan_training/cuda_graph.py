"""A GPU's work, recorded once and replayed: small nets spend most of a step in starting kernels, a thousand of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor

Tensors: TypeAlias = Sequence[Tensor]
Work: TypeAlias = Callable[[Tensors], dict[str, Tensor]]

WARM_UP: Final = 2  # times that work is done as it is before it is recorded: libraries set themselves up in it


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]  # on the device, where the graph reads them
    names: tuple[str, ...]
    outputs: Tensor  # (len(names),), where the graph writes them


class CudaGraphs:
    """Does work on a GPU: the first times as it is, then as a CUDA graph, which has the same effects in one launch.

    The work may change what outlives it in place (weights, optimiser state, random state) and must not wait for the
    device or read from it. Work that is called by the same key must do the same with tensors of the same shapes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # Nothing can be recorded on the default stream.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()  # one after the other, graphs can use the same memory
        self._times: Counter[Hashable] = Counter()
        self._recordings: dict[Hashable, _Recording] = {}

    def __call__(self, key: Hashable, inputs: Tensors, work: Work) -> dict[str, Tensor]:
        """Do `work` with `inputs` (on the CPU); returns its scalars, on the device, as tensors of their own."""
        with torch.cuda.device(self._device):
            recording = self._recordings.get(key)
            if recording is None and self._times[key] >= WARM_UP:
                recording = self._recordings[key] = self._record(inputs, work)
            self._times[key] += 1
            if recording is None:
                return self._as_it_is(inputs, work)
            for place, value in zip(recording.inputs, inputs, strict=True):
                place.copy_(value.pin_memory(), non_blocking=True)
            recording.graph.replay()
            return dict(zip(recording.names, recording.outputs.clone().unbind(), strict=True))

    @property
    def recorded(self) -> int:
        """Kinds of work that are replayed by now."""
        return len(self._recordings)

    def _as_it_is(self, inputs: Tensors, work: Work) -> dict[str, Tensor]:
        """On the stream that will record: what is set up there in the first steps is what the recorded ones need."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            parts = work([value.to(self._device) for value in inputs])
        current.wait_stream(self._stream)
        return {name: value.clone() for name, value in parts.items()}

    def _record(self, inputs: Tensors, work: Work) -> _Recording:
        places = [torch.empty_like(value, device=self._device) for value in inputs]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            parts = work(places)
            outputs = torch.stack([value.float() for value in parts.values()])
        return _Recording(graph, places, tuple(parts), outputs)
