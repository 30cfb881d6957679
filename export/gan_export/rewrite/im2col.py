"""A convolution as one matrix product, whose rows are its windows.

ONNX Runtime's integer convolution makes bytes of its sums, its integer matrix product floats as well. The windows are
put beside each other by one Gather, which moves all channels of a place at once and is shared among threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from gan_export.onnx_graph import Writer, attributes_of

from .editing import Editor

Array: TypeAlias = NDArray[Any]


def windows_of(editor: Editor, layer: str) -> NDArray[np.int64] | None:
    """Where a convolution's windows are in its maps, (results high, wide, kernel high, wide).

    As row * width + column, and height * width for a place in the padding. None where a layer is not a convolution of
    two axes, has groups, or its sizes or padding are not written out.
    """
    node = editor.producer(layer)
    weight = editor.constant(node.input[1]) if node is not None and node.op_type == "Conv" else None
    if node is None or weight is None or weight.ndim != 4:
        return None
    attributes, shape = attributes_of(node), editor.shapes.get(node.input[0], ())
    is_plain = attributes.get("group", 1) == 1 and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
    if not is_plain or len(shape) != 4 or not all(shape[1:]):
        return None
    rows, columns = (_places(shape[2 + axis], weight.shape[2 + axis], axis, attributes) for axis in range(2))
    places = rows[:, None, :, None] * shape[3] + columns[None, :, None, :]
    outside = (rows < 0)[:, None, :, None] | (columns < 0)[None, :, None, :]
    return np.where(outside, shape[2] * shape[3], places)


def im2col(model: onnx.ModelProto, layers: Iterable[str]) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph with some convolutions as matrix products, and what each one's Gemm node makes.

    Args:
        model: opset 17.
        layers: what the Conv nodes make; `windows_of` knows each.
    """
    editor = Editor(model)
    products = {layer: _write(editor, layer) for layer in layers}
    return editor.done(), products


def weights_by_row(weight: Array) -> Array:
    """A Conv node's (outputs, inputs, height, width) for its windows: (height * width * inputs, outputs)."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, len(weight)))


def _write(editor: Editor, layer: str) -> str:
    node, places = editor.producer(layer), windows_of(editor, layer)
    assert node is not None, layer
    assert places is not None, layer
    _, channels, height, width = editor.shapes[node.input[0]]
    weight = editor.constant(node.input[1])
    assert weight is not None, layer
    write = Writer(editor, layer)
    last = write("Transpose", node.input[0], perm=[0, 2, 3, 1])
    maps = write("Reshape", last, np.array([-1, height * width, channels]))
    if places.max() == height * width:
        maps = write("Pad", maps, np.array([0, 0, 0, 0, 1, 0]))
    windows = write("Gather", maps, places.reshape(-1), axis=1)
    rows = write("Reshape", windows, np.array([-1, places[0, 0].size * channels]))
    by_row = write.constant(f"{node.input[1]}.rows", weights_by_row(weight))
    product = write("Gemm", rows, by_row, *node.input[2:])
    result = write("Reshape", product, np.array([-1, *places.shape[:2], len(weight)]))
    write("Transpose", result, output=layer, perm=[0, 3, 1, 2])
    editor.replace([node], write.nodes)
    return product


def _places(size: int, kernel: int, axis: int, attributes: dict[str, Any]) -> NDArray[np.int64]:
    """Of each window along an axis, (windows, kernel); -1 in the padding."""
    pads = attributes.get("pads", [0] * 4)
    stride, dilation = (attributes.get(name, [1, 1])[axis] for name in ("strides", "dilations"))
    windows = (size + pads[axis] + pads[axis + 2] - dilation * (kernel - 1) - 1) // stride + 1
    places = np.arange(windows)[:, None] * stride + np.arange(kernel) * dilation - pads[axis]
    return np.where((places < 0) | (places >= size), -1, places)
