"""BatchNorm in eval mode is a scale and a shift of each channel: they go into the layer before it.

Also across a reshape from (N, F) to (N, C, H, W), where each channel is a run of H * W values of the layer before.
Where others use that layer's result too, as in residual nets, it can be a convolution of 1x1 with a group a channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from gan_export.onnx_graph import Writer, attributes_of, input_name

from .editing import Editor

Array = NDArray[np.float64]


def batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold BatchNormalization into the Conv, ConvTranspose, Gemm or MatMul before it, whose result nothing else uses.

    Args:
        model: opset 17, in which weights are constants.
    """
    editor = Editor(model)
    for node in editor.each("BatchNormalization"):
        _fold(editor, node)
    return editor.done()


def depthwise_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write each BatchNormalization of maps that is left as a convolution.

    ONNX Runtime does so itself between its blocked convolutions; here also where one of both sides is something else,
    so that the ReLU behind, and upsampling, are done by blocked kernels.

    Args:
        model: opset 17.
    """
    editor = Editor(model)
    for node in editor.each("BatchNormalization"):
        found = _scale_and_shift(editor, node)
        if found is None or len(editor.shapes.get(node.input[0], ())) != 4:
            continue
        scale, shift = (each.astype(np.float32) for each in found)
        write = Writer(editor, node.output[0])
        write("Conv", node.input[0], scale.reshape(-1, 1, 1, 1), shift, output=node.output[0], group=len(scale))
        editor.replace([node], write.nodes)
    return editor.done()


def _scale_and_shift(editor: Editor, norm: onnx.NodeProto) -> tuple[Array, Array] | None:
    """Of each channel; None where they are computed, or those of a batch."""
    constants = [editor.constant(name) for name in norm.input[1:5]]
    if attributes_of(norm).get("training_mode", 0) or any(one is None or one.dtype != np.float32 for one in constants):
        return None
    weight, bias, mean, variance = (np.asarray(one, np.float64) for one in constants)
    scale = weight / np.sqrt(variance + attributes_of(norm).get("epsilon", 1e-5))
    return scale, bias - mean * scale


def _fold(editor: Editor, norm: onnx.NodeProto) -> None:
    found, layer = _scale_and_shift(editor, norm), editor.only_source(norm.input[0])
    if layer is None or found is None:
        return
    scale, shift = found
    reshape = None
    if layer.op_type == "Reshape":
        reshape, layer = layer, editor.only_source(layer.input[0])
        shape = editor.shapes.get(norm.input[0], ())
        flat = editor.shapes.get(reshape.input[0], ())
        run = int(np.prod(shape[2:]))
        if layer is None or len(shape) < 3 or len(flat) != 2 or not run or flat[1] != len(scale) * run:
            return
        scale, shift = np.repeat(scale, run), np.repeat(shift, run)
    folded = _folded(editor, layer, scale, shift)
    if folded is None:
        return
    if reshape is None:
        folded.output[0] = norm.output[0]
        editor.replace([layer, norm], [folded])
        return
    after = onnx.NodeProto()
    after.CopyFrom(reshape)
    after.input[0], after.output[0] = folded.output[0], norm.output[0]
    editor.replace([layer, reshape, norm], [folded, after])


def _folded(editor: Editor, layer: onnx.NodeProto, scale: Array, shift: Array) -> onnx.NodeProto | None:
    """The layer with its results scaled and shifted; None if it is of another kind."""
    weight = editor.constant(input_name(layer, 1))
    bias = editor.constant(input_name(layer, 2))
    if weight is None or weight.dtype != np.float32 or (input_name(layer, 2) and bias is None):
        return None
    attributes = attributes_of(layer)
    old = np.zeros(len(scale)) if bias is None else np.asarray(bias, np.float64)
    if layer.op_type == "Conv":
        weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    elif layer.op_type == "ConvTranspose":
        groups = int(attributes.get("group", 1))
        parts = weight.reshape(groups, -1, *weight.shape[1:])  # (Cin, Cout / g, ...) -> (g, Cin / g, Cout / g, ...)
        weight = (parts * scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
    elif layer.op_type in ("Gemm", "MatMul") and weight.ndim == 2 and len(editor.shapes.get(layer.input[0], ())) == 2:
        outputs = weight.shape[0 if attributes.get("transB", 0) else 1]
        if attributes.get("transA", 0) or outputs != len(scale) or old.size not in (1, outputs) or old.ndim > 2:
            return None
        old = np.broadcast_to(old.reshape(-1), outputs) * attributes.pop("beta", 1.0)
        weight = weight * (scale[:, None] if attributes.get("transB", 0) else scale) * attributes.pop("alpha", 1.0)
    else:
        return None
    names = [_stored(editor, layer, 1, weight), _stored(editor, layer, 2, old * scale + shift)]
    kind = "Gemm" if layer.op_type == "MatMul" else layer.op_type
    return helper.make_node(kind, [layer.input[0], *names], list(layer.output), name=layer.name, **attributes)


def _stored(editor: Editor, layer: onnx.NodeProto, index: int, value: NDArray[Any]) -> str:
    base = input_name(layer, index) or f"{input_name(layer, 1)}.shift"
    return editor.add_constant(f"{base}.folded", value.astype(np.float32))
