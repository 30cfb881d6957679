"""A graph in float16, for GPUs: half the memory to move, and products on tensor cores.

Weights and activations are float16; what ONNX calls its type is taken along by every operator between the latents and
the last activation. That one, and what makes bytes of pixels, stay float32: float16 has steps of 1/8 at 255.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .artifact import LATENT_INPUT, PIXELS_OUTPUT
from .artifact.first_line import first_line
from .rewrite.editing import ACTIVATIONS, Editor

FLOAT_ONLY: Final = {"Resize": (1, 2)}
"""Inputs that an operator wants in float32 whatever its type is: the region and the scales."""
RESCALING: Final = ("Add", "Clip", "Div", "Identity", "Mul", "Reshape", "Slice", "Sub", "Transpose")
"""What may stand between the last activation and the pixels: a range of 0 to 1 or 0 to 255, another order."""
LARGEST: Final = float(np.finfo(np.float16).max)


class HalfError(RuntimeError):
    """The graph can't be had in float16; the message is one line without a full stop."""


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in float16, with the same inputs and outputs.

    Args:
        model: with serving's inputs and outputs, opset 17.

    Raises:
        HalfError: a weight is too large for float16, or an operator has no such type.
    """
    editor = Editor(model)
    if not editor.is_flat:
        raise HalfError("it has a branch or a loop")
    last = editor.producer(PIXELS_OUTPUT)
    if last is None:
        raise HalfError("nothing computes its pixels")
    activation = _activation_before(editor, last)
    tail = _after(editor, activation or last)
    if activation is None:
        tail.remove(id(last))
    found = _Body(editor, tail).converted()
    try:
        onnx.checker.check_model(found, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise HalfError(f"an operator does not take float16: {first_line(error)}") from error
    return found


def _activation_before(editor: Editor, last: onnx.NodeProto) -> onnx.NodeProto | None:
    """The activation whose numbers a node gives out, rescaled or moved at most."""
    node: onnx.NodeProto | None = last
    while node is not None and node.op_type in RESCALING:
        varying = [name for name in node.input if name and editor.constant(name) is None]
        node = editor.producer(varying[0]) if len(varying) == 1 else None
    return node if node is not None and node.op_type in ACTIVATIONS else None


def _after(editor: Editor, first: onnx.NodeProto) -> set[int]:
    """A node, and all that depend on it."""
    known, made = {id(first)}, set(first.output)
    for node in editor.nodes:  # in the order in which they are computed
        if made.intersection(node.input):
            known.add(id(node))
            made.update(node.output)
    return known


class _Body:
    """What is not the tail, under change."""

    def __init__(self, editor: Editor, tail: set[int]) -> None:
        self._editor, self._tail = editor, tail
        self._narrowed: set[str] = set()  # values that were float32 and are float16
        self._halves: dict[str, str] = {}  # constants and inputs of float32, and the same in float16
        self._wide: dict[str, str] = {}  # values of float16, and the same in float32
        self._nodes: list[onnx.NodeProto] = []

    def converted(self) -> onnx.ModelProto:
        for node in self._editor.nodes:
            if id(node) in self._tail:
                self._widen(node)
                self._nodes.append(node)
            elif PIXELS_OUTPUT in node.output:
                self._narrow(node)
                self._give_out(node)
            else:
                self._narrow(node)
                self._nodes.append(node)
                self._narrowed.update(set(node.output).intersection(self._editor.shapes))
        self._editor.nodes = self._nodes
        return self._editor.done()

    def _narrow(self, node: onnx.NodeProto) -> None:
        """A node of the body: its constants, the latents, and the types that it names."""
        for i, name in enumerate(node.input):
            if i not in FLOAT_ONLY.get(node.op_type, ()):
                node.input[i] = self._half_of(name)
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            if node.op_type == "ConstantOfShape" and attribute.t.data_type == TensorProto.FLOAT:
                value = numpy_helper.to_array(attribute.t).astype(np.float16)
                attribute.t.CopyFrom(numpy_helper.from_array(value))

    def _half_of(self, name: str) -> str:
        if name in self._halves:
            return self._halves[name]
        value = self._editor.constant(name)
        if value is not None and value.dtype == np.float32:
            if value.size and not float(np.abs(value).max()) <= LARGEST:
                raise HalfError(f"a weight of {float(np.abs(value).max()):.3g} is beyond float16's {LARGEST:g}")
            self._halves[name] = self._editor.add_constant(f"{name}.half", value.astype(np.float16))
        elif name == LATENT_INPUT:
            self._halves[name] = self._cast(name, self._editor.name(f"{name}.half"), TensorProto.FLOAT16)
        return self._halves.get(name, name)

    def _widen(self, node: onnx.NodeProto) -> None:
        """A node of the tail: what the body made for it."""
        for i, name in enumerate(node.input):
            if name in self._narrowed:
                if name not in self._wide:
                    self._wide[name] = self._cast(name, self._editor.name(f"{name}.float"), TensorProto.FLOAT)
                node.input[i] = self._wide[name]

    def _give_out(self, node: onnx.NodeProto) -> None:
        """Pixels that the body itself makes."""
        made = self._editor.name(f"{PIXELS_OUTPUT}.half")
        node.output[list(node.output).index(PIXELS_OUTPUT)] = made
        self._nodes.append(node)
        self._cast(made, PIXELS_OUTPUT, TensorProto.FLOAT)

    def _cast(self, name: str, output: str, to: int) -> str:
        self._nodes.append(helper.make_node("Cast", [name], [output], name=self._editor.name(f"{output}.cast"), to=to))
        return output
