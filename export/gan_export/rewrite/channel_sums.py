"""Means and sums over the channels of feature maps, as PixelNorm takes them, become 1x1 convolutions.

ONNX Runtime 1.31 sums over the second dimension in another order when the batch holds one image: the last bits differ,
and an image would not be the same alone as in a batch. Its 1x1 convolution gives the same bits for every batch size.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from gan_export.onnx_graph import attributes_of, float_shapes, names_in, unused

CHANNELS = 1  # the dimension of (N, C, H, W)
RANK = 4


def channel_sums(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace `ReduceMean` and `ReduceSum` over (N, C, H, W)'s channels; C must be known, and the dimension be kept.

    Args:
        model: opset 17.
    """
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    graph = rewritten.graph
    shapes, names = dict(float_shapes(model)), names_in(graph)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for position, node in enumerate(graph.node):
        if node.op_type not in ("ReduceMean", "ReduceSum") or _axes(node, constants) not in ([CHANNELS], [-3]):
            continue
        shape = shapes.get(node.input[0], ())
        if len(shape) != RANK or not shape[CHANNELS] or not attributes_of(node).get("keepdims", 1):
            continue
        channels = shape[CHANNELS]
        value = 1.0 / channels if node.op_type == "ReduceMean" else 1.0
        weight = unused(f"{node.output[0]}_of_channels", names)
        graph.initializer.append(numpy_helper.from_array(np.full((1, channels, 1, 1), value, np.float32), weight))
        convolution = helper.make_node("Conv", [node.input[0], weight], list(node.output), name=node.name)
        graph.node[position].CopyFrom(convolution)
    return rewritten


def _axes(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> list[int]:
    """The reduced dimensions; none if they are not known."""
    if len(node.input) > 1:
        tensor = constants.get(node.input[1])
        return [] if tensor is None else [int(axis) for axis in numpy_helper.to_array(tensor)]
    return [int(axis) for attribute in node.attribute if attribute.name == "axes" for axis in attribute.ints]
