"""How a net's numbers become bytes, whichever layers are in int8: ranges, rounded weights, and channels' divisors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import onnx

from gan_export.rewrite.editing import Editor
from gan_export.tuning import Feed

from .calibration import Divisors, Ranges, calibrate
from .comparison import Comparison
from .equalization import Sizes, divisors_of, sizes_of
from .graph import made_by, source_of, tensors_of
from .weights import Rounded, round_weights

POWERS: Final = (0.0, 0.5, 1.0)  # of the channels' sizes that they are divided by: not, halfway, to the same size


@dataclass(frozen=True)
class Scheme:
    """What `write_int8` needs beside the layers."""

    ranges: Mapping[str, Ranges]  # by the way to cut them
    weights: Mapping[str, Rounded]
    divisors: Divisors = field(default_factory=dict)


def scheme_of(model: onnx.ModelProto, layers: Collection[str], feed: Feed, divisors: Divisors | None = None) -> Scheme:
    """For what is seen on some images.

    Args:
        model: opset 17.
        layers: what Conv and Gemm nodes make.
        feed: inputs of the images; the first dimension of each is the batch.
        divisors: of channels; none are divided without.
    """
    divisors = divisors or {}
    ranges = calibrate(model, tensors_of(model, layers), feed, divisors)
    return Scheme(ranges, round_weights(model, layers, feed, divisors), divisors)


def equalized(
    model: onnx.ModelProto, layers: Collection[str], feed: Feed, plain: Scheme, compare: Comparison
) -> Scheme:
    """With the channels of each tensor brought as near to one size as shows least, when nothing but that is in 8 bits.

    Args:
        model: opset 17.
        layers: what Conv and Gemm nodes make.
        feed: the images that `plain` is for.
        plain: without divisors.
        compare: of the same model, with other images.
    """
    sizes = sizes_of(model, layers, feed)
    if not sizes:
        return plain
    schemes = {0.0: plain}
    for power in POWERS[1:]:
        divisors = {name: each for found in sizes.values() for name, each in divisors_of(found, power).items()}
        schemes[power] = scheme_of(model, layers, feed, divisors)
    editor = Editor(model)
    sources = {layer: source_of(editor, made_by(editor, layer).input[0]) for layer in layers}

    def share(tensor: str, power: float) -> float:
        alone = _joined(schemes, {tensor: power}, sizes, sources)
        readers = tuple(layer for layer in layers if sources[layer] == tensor)
        drawn = compare.for_(alone.weights, alone.divisors)
        *_, spans = alone.ranges.values()  # with the least squared error
        return (drawn(spans, readers) if readers else drawn.rounded(tensor, spans[tensor])).share

    best = {tensor: min(POWERS, key=partial(share, tensor)) for tensor in sizes}
    return _joined(schemes, best, sizes, sources)


def _joined(
    schemes: Mapping[float, Scheme],
    powers: Mapping[str, float],
    sizes: Mapping[str, Sizes],
    sources: Mapping[str, str],
) -> Scheme:
    """With a power for each tensor, 0 for the others."""
    plain = schemes[0.0]
    return Scheme(
        {
            method: {name: schemes[powers.get(name, 0.0)].ranges[method][name] for name in ranges}
            for method, ranges in plain.ranges.items()
        },
        {layer: schemes[powers.get(sources[layer], 0.0)].weights[layer] for layer in plain.weights},
        {name: schemes[power].divisors[name] for tensor, power in powers.items() if power for name in sizes[tensor]},
    )
