"""How much a graph computes: multiplications and additions for one image, by layer."""

from __future__ import annotations

from math import prod

import onnx

from .editing import Editor


def work_by_layer(model: onnx.ModelProto) -> dict[str, int]:
    """Floating-point operations for one image of the layers that multiply matrices, by the name of what they make.

    Convolutions, transposed convolutions and matrix products with constant weights; a layer whose sizes are not known
    is left out.
    """
    editor = Editor(model)
    found: dict[str, int] = {}
    for node in editor.nodes:
        weight = editor.constant(node.input[1]) if len(node.input) > 1 else None
        if weight is None or node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        # Each weight of a convolution is used once for each place of its output, of a transposed one of its input.
        places = editor.shapes.get(node.input[0] if node.op_type == "ConvTranspose" else node.output[0], ())
        if places and all(places[1:]):
            found[node.output[0]] = 2 * weight.size * prod(places[2:])
    return found


def layer_names(model: onnx.ModelProto) -> dict[str, str]:
    """The submodule that each layer's weight belonged to, as `blocks.0`, by the name of what the layer makes."""
    names: dict[str, str] = {}
    for node in model.graph.node:
        if len(node.input) > 1:
            weight, mark, _ = node.input[1].partition(".weight")
            names[node.output[0]] = weight.removeprefix("generator.") if mark else node.name or node.output[0]
    return names
