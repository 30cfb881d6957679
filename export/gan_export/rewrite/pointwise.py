"""A 1x1 convolution after upsampling, as in the shortcut of a residual block, is done before it, on fewer pixels.

Upsampling mixes pixels with weights that sum to one and leaves channels alone; a 1x1 convolution mixes channels and
leaves pixels alone. So the order does not matter, also for the bias.
"""

from __future__ import annotations

import numpy as np
import onnx

from gan_export.onnx_graph import Writer, attributes_of, input_name

from .editing import Editor


def pointwise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Exchange Resize to a larger size and a 1x1 Conv that makes no more channels than it takes.

    Args:
        model: opset 17.
    """
    editor = Editor(model)
    for node in editor.each("Conv"):
        resize = editor.only_source(node.input[0])
        if resize is not None and _is_pointwise(editor, node) and _enlarges(editor, resize):
            write = Writer(editor, node.output[0])
            mixed = write("Conv", resize.input[0], *node.input[1:], **attributes_of(node))
            write.like(resize, mixed, output=node.output[0])
            editor.replace([resize, node], write.nodes)
    return editor.done()


def _is_pointwise(editor: Editor, node: onnx.NodeProto) -> bool:
    attributes, weight = attributes_of(node), editor.constant(node.input[1])
    if weight is None or weight.shape[2:] != (1, 1) or len(weight) > weight.shape[1] * attributes.get("group", 1):
        return False
    return not any(attributes.get("pads", [])) and all(stride == 1 for stride in attributes.get("strides", []))


def _enlarges(editor: Editor, resize: onnx.NodeProto) -> bool:
    scales, attributes = editor.constant(input_name(resize, 2)), attributes_of(resize)
    if resize.op_type != "Resize" or scales is None or scales.shape != (4,) or input_name(resize, 3):
        return False
    mixes = attributes.get("mode", b"nearest") in (b"nearest", b"linear")
    crops = attributes.get("coordinate_transformation_mode", b"half_pixel") == b"tf_crop_and_resize"
    return mixes and not crops and tuple(scales[:2]) == (1, 1) and bool(np.all(scales[2:] >= 1))
