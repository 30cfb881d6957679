"""Whether the sizes in a graph follow from the number of latents alone, so that one run shows what all others take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from onnx import GraphProto, NodeProto

from gan_export.onnx_graph import RANDOM, draws, graphs_in
from gan_export.refusal import IntakeError
from gan_export.untrusted.messages import shown

_SIZES: Final[Mapping[str, tuple[int, ...]]] = {
    **dict.fromkeys(("AffineGrid", "CenterCropPad", "Compress", "DFT", "Expand", "OneHot", "Reshape", "Tile"), (1,)),
    **dict.fromkeys(("Split", "SplitToSequence", "Squeeze", "TopK", "Unsqueeze", "Upsample"), (1,)),
    **dict.fromkeys(("BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "If"), (0,)),
    **dict.fromkeys(("ImageDecoder", "NonZero", "StringSplit", "Unique"), (0,)),
    **dict.fromkeys(("Resize", "STFT"), (1, 2, 3)),
    **dict.fromkeys(("MelWeightMatrix", "NonMaxSuppression", "Range"), (0, 1, 2, 3, 4)),
    "Col2Im": (1, 2),
    "MaxUnpool": (2,),
    "Pad": (1, 3),
    "Slice": (1, 2, 3, 4),
}
"""Inputs whose values decide how large an operator's result is, or what is run."""
_MEASURING: Final = ("Shape", "Size")  # their result does not depend on values


def draws_noise(graph: GraphProto) -> bool:
    """Whether running it twice may give two results."""
    return any(draws(node) or any(draws_noise(inner) for inner in graphs_in(node)) for node in graph.node)


def check_sizes(graph: GraphProto) -> None:
    """Raises IntakeError if the values of latents, labels or random numbers decide how much is computed."""
    _follow(graph, {value.name for value in graph.input})


def _follow(graph: GraphProto, outer: set[str]) -> set[str]:
    """Names of the values that depend on those of `outer`."""
    found = set(outer)
    for node in graph.node:
        deciding = _SIZES.get(node.op_type, ())
        if any(place < len(node.input) and node.input[place] in found for place in deciding):
            raise IntakeError(
                f"decides what to compute in {_where(node)} by the values of its latents, labels or random numbers; "
                "replace boolean indexing and branches with torch.where, and export it again"
            )
        depends = node.op_type in RANDOM or bool(found.intersection(node.input))
        for inner in graphs_in(node):
            inside = _follow(inner, found)
            depends = depends or any(value.name in inside for value in inner.output)
        if depends and node.op_type not in _MEASURING:
            found.update(filter(None, node.output))
    return found


def _where(node: NodeProto) -> str:
    return f"{shown(node.op_type)} {shown(node.name)}".strip()
