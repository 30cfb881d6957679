"""Where a transposed convolution's result begins: what is cut off before its first row and column."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from gan_export.onnx_graph import attributes_of


def first_pads(node: onnx.NodeProto, sizes: Sequence[int], results: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Of each axis; empty where that isn't told: `auto_pad` alone decides, or the result is larger than what is drawn.

    Where `output_shape` is given, `pads` do not count: what is too much is cut off on both sides, and of an odd number
    one row more at the beginning, or with SAME_UPPER at the end (ONNX's text on ConvTranspose).

    Args:
        node: a ConvTranspose.
        sizes: of its input, by axis.
        results: of its output.
        kernel: of its weight.
    """
    attributes, axes = attributes_of(node), range(len(kernel))
    auto = attributes.get("auto_pad", b"NOTSET")
    if "output_shape" not in attributes:
        return [] if auto != b"NOTSET" else [int(pad) for pad in attributes.get("pads", [0] * len(axes))[: len(axes)]]
    strides, dilations, extra = (
        attributes.get(name, [default] * len(axes))
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    drawn = [(sizes[i] - 1) * strides[i] + extra[i] + (kernel[i] - 1) * dilations[i] + 1 for i in axes]
    cut = [whole - result for whole, result in zip(drawn, results, strict=True)]
    return [] if min(cut) < 0 else [total // 2 if auto == b"SAME_UPPER" else total - total // 2 for total in cut]
