"""Which rewrites make a graph faster on this host: tried layer by layer, measured in turns, kept where they pay."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import geometric_mean
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state

from .artifact import IMAGE_OUTPUT, LABEL_INPUT, LATENT_INPUT, LatentSpec, Rewrite, draw
from .artifact.first_line import first_line
from .artifact.runtime import open_cpu
from .rewrite import FORMS, SIMPLER, Form, phases, split_layers, taps, thin_layers, upsampled_layers, upsampling
from .rewrite.work import layer_names, work_by_layer

TIMED_BATCHES: Final = (1, 16)
TURNS: Final = 6  # of the two graphs that are compared
TURN_SECONDS: Final = 0.004  # at least, for one graph and batch
GAIN: Final = 1.04  # in the mean over the batches: less is noise, and the next export would choose otherwise
LOSS: Final = 0.97  # at no batch
SMALL: Final = 1_000_000  # operations an image: below, requests cost much more than the graph
SHARE: Final = 0.01  # of all operations: layers with less are left as they are
SPLIT: Final[tuple[Form, ...]] = ("windows", "phases")  # the first is one product, the second can have groups

GRAPH_ERRORS: Final = tuple(
    error
    for error in vars(onnxruntime_pybind11_state).values()
    if isinstance(error, type) and issubclass(error, Exception)
)
"""What ONNX Runtime raises where it can't open or run a graph: a dozen unrelated types."""

Feed: TypeAlias = dict[str, NDArray[Any]]
Step: TypeAlias = Callable[[onnx.ModelProto], onnx.ModelProto]


@dataclass(frozen=True)
class RewrittenGraph:
    """A graph, and how it came about."""

    model: onnx.ModelProto
    rewrites: list[Rewrite] = field(default_factory=list)


def simplified(model: onnx.ModelProto) -> RewrittenGraph:
    """With the rewrites that only leave out work; nothing is measured, and the same graph gives the same one again."""
    rewrites: list[Rewrite] = []
    for step in SIMPLER:
        simpler = step(model)
        if simpler.graph.node != model.graph.node:
            rewrites.append(Rewrite(name=step.__name__))
        model = simpler
    return RewrittenGraph(model, rewrites)


def split(tuned: RewrittenGraph) -> RewrittenGraph:
    """With plain convolutions in the place of transposed ones.

    For int8, which has no kernel for transposed ones, and for GPUs, whose fast ones don't give the same sums twice
    (`algorithm_search`).
    """
    model, names = tuned.model, layer_names(tuned.model)
    rewrites = list(tuned.rewrites)
    for form in SPLIT:
        rewrites += [Rewrite(name=form, layer=names[layer]) for layer in split_layers(model, form)]
        model = phases(model, form)
    return RewrittenGraph(model, rewrites)


def tune(
    model: onnx.ModelProto,
    latent: LatentSpec,
    classes: int,
    progress: Callable[[str], None] = lambda _: None,
    *,
    for_gpu: bool = False,
) -> RewrittenGraph:
    """The fastest form of a graph that is found here.

    Args:
        model: with serving's inputs and outputs, opset 17.
        latent: what its latents are drawn from.
        classes: number of classes, 0 for an unconditional generator.
        progress: told in a few words what is being done.
        for_gpu: a GPU is to draw it too: no transposed convolution stays, whatever the processor would like best.

    Raises:
        GRAPH_ERRORS: ONNX Runtime can't open what the rewrites that simplify it have made.
    """
    tuned = split(simplified(model)) if for_gpu else simplified(model)
    best, rewrites = tuned.model, tuned.rewrites
    work = work_by_layer(best)
    total = sum(work.values())
    if total < SMALL:
        return tuned
    feeds = timed_feeds(latent, classes)
    names, plans = layer_names(best), _plans(best, for_gpu=for_gpu)
    large = sorted((name for name in plans if work.get(name, 0) >= SHARE * total), key=lambda name: -work[name])
    session = open_graph(best)
    for layer in large:
        progress(f"trying other forms of {names[layer]}")
        tried = []
        for name, step in plans[layer]:
            candidate = step(best)
            with passed_over(f"{names[layer]} can't be run as {name}", progress):
                opened = open_graph(candidate)
                if gain := worth(speedups(session, opened, feeds)):
                    tried.append((gain, name, candidate, opened))
        if tried:
            gain, name, candidate, opened = max(tried, key=lambda each: each[0])
            best, session = candidate, opened
            rewrites.append(Rewrite(name=name, layer=names[layer], speedup=round(gain, 3)))
    return RewrittenGraph(best, rewrites)


@contextmanager
def passed_over(what: str, progress: Callable[[str], None]) -> Iterator[None]:
    """Where ONNX Runtime can't open or run a form that is tried, that is told, and the block ends there."""
    try:
        yield
    except GRAPH_ERRORS as error:
        progress(f"{what}: {first_line(error)}")


def timed_feeds(latent: LatentSpec, classes: int) -> list[Feed]:
    """Inputs of the batches that are timed."""
    return [feed_of(latent, classes, batch) for batch in TIMED_BATCHES]


def feed_of(latent: LatentSpec, classes: int, batch: int, first_seed: int = 0) -> Feed:
    """Inputs of a batch of seeds in a row, with labels in turn."""
    feed: Feed = {LATENT_INPUT: draw(range(first_seed, first_seed + batch), latent.dim, latent.distribution).latents}
    return feed | ({LABEL_INPUT: np.arange(batch, dtype=np.int64) % classes} if classes else {})


def open_graph(model: onnx.ModelProto) -> ort.InferenceSession:
    """A session with the options of serving."""
    return open_cpu(model.SerializeToString())


def worth(ratios: Sequence[float]) -> float:
    """The mean of how many times as fast each batch is; 0 if that is too little, or one is too much slower."""
    gain = geometric_mean(ratios)
    return gain if gain >= GAIN and min(ratios) >= LOSS else 0


def speedups(first: ort.InferenceSession, second: ort.InferenceSession, feeds: Sequence[Feed]) -> list[float]:
    """How many times as fast the second draws each batch.

    They take turns, and the best of each counts: what else the machine does can only make a turn longer.
    """
    found = []
    for feed in feeds:
        runs = [_runs_of(session, feed) for session in (first, second)]
        best = [math.inf, math.inf]
        for _ in range(TURNS):
            for i, session in enumerate((first, second)):
                best[i] = min(best[i], _seconds(session, feed, runs[i]))
        found.append(best[0] / best[1])
    return found


def _runs_of(session: ort.InferenceSession, feed: Feed) -> int:
    """How many runs fill a turn; the first one allocates and is not counted."""
    session.run([IMAGE_OUTPUT], feed)
    return max(1, math.ceil(TURN_SECONDS / max(_seconds(session, feed, 1), 1e-6)))


def _seconds(session: ort.InferenceSession, feed: Feed, runs: int) -> float:
    began = time.perf_counter()
    for _ in range(runs):
        session.run([IMAGE_OUTPUT], feed)
    return (time.perf_counter() - began) / runs


def _plans(model: onnx.ModelProto, *, for_gpu: bool) -> dict[str, list[tuple[str, Step]]]:
    """The forms that a layer can take, by the name of what it makes.

    For GPUs those alone that are less work: `taps` answers to the blocks of the processor's kernels.
    """
    plans: dict[str, list[tuple[str, Step]]] = {}
    for form in FORMS:
        for layer in split_layers(model, form):
            plans.setdefault(layer, []).append((form, partial(phases, form=form, layers=(layer,))))
    upsampled, joined = upsampled_layers(model), upsampling(model)
    for form in FORMS:
        for layer in [one for one in split_layers(joined, form) if one in upsampled]:
            both = partial(_both, partial(upsampling, layers=(layer,)), partial(phases, form=form, layers=(layer,)))
            plans.setdefault(layer, []).append((f"upsampling, {form}", both))
    for layer in [] if for_gpu else thin_layers(model):
        plans.setdefault(layer, []).append(("taps", partial(taps, layers=(layer,))))
    return plans


def _both(first: Step, second: Step, model: onnx.ModelProto) -> onnx.ModelProto:
    return second(first(model))
