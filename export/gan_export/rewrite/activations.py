"""Activations that ONNX Runtime computes in vectors, written in operations that give the same bits wherever they stand.

ONNX Runtime 1.31 computes Elu, Selu, Celu, Softplus, Log, Sin and Cos four or eight numbers at a time and what is left
over one by one, with another last bit. What is left over depends on the size of the batch and the number of threads, so
an image would not be the same alone as in a batch. Its Exp, Abs, Div and arithmetic do not depend on the place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import onnx

from gan_export.onnx_graph import NewValues, Writer, attributes_of, float_shapes, names_in

LOG_TERMS: Final = 8  # of the series of 2 artanh(s), s <= 1/3: the rest is below 2e-9
SELU_ALPHA: Final = 1.67326319217681884765625
SELU_GAMMA: Final = 1.05070102214813232421875


def activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace those activations, of float32 tensors.

    Args:
        model: opset 17.
    """
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    graph = rewritten.graph
    if not any(node.op_type in _WRITTEN for node in graph.node):
        return rewritten
    floats, values = dict(float_shapes(model)), NewValues(names_in(graph))
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type not in _WRITTEN or node.input[0] not in floats:
            graph.node.append(node)
            continue
        write = Writer(values, node.output[0])
        _WRITTEN[node.op_type](write, node)
        graph.node.extend(write.nodes)
    graph.initializer.extend(values.constants)
    return rewritten


def _exponential(write: Writer, node: onnx.NodeProto, positive: float, negative: float, stretch: float) -> None:
    """positive * max(x, 0) + negative * (exp(min(x, 0) / stretch) - 1)"""
    (x,) = node.input
    low = write("Min", x, 0.0)
    curve = write("Sub", write("Exp", low if stretch == 1 else write("Div", low, stretch)), 1.0)
    line = write("Max", x, 0.0)
    write("Add", write("Mul", line, positive), write("Mul", curve, negative), output=node.output[0])


def _elu(write: Writer, node: onnx.NodeProto) -> None:
    _exponential(write, node, 1.0, attributes_of(node).get("alpha", 1.0), 1.0)


def _selu(write: Writer, node: onnx.NodeProto) -> None:
    gamma = attributes_of(node).get("gamma", SELU_GAMMA)
    _exponential(write, node, gamma, gamma * attributes_of(node).get("alpha", SELU_ALPHA), 1.0)


def _celu(write: Writer, node: onnx.NodeProto) -> None:
    alpha = attributes_of(node).get("alpha", 1.0)
    _exponential(write, node, 1.0, alpha, alpha)


def _softplus(write: Writer, node: onnx.NodeProto) -> None:
    """max(x, 0) + log(1 + t), t = exp(-|x|), by log(1 + t) = 2 artanh(s), s = t / (2 + t)."""
    (x,) = node.input
    t = write("Exp", write("Neg", write("Abs", x)))
    s = write("Div", t, write("Add", t, 2.0))
    square = write("Mul", s, s)
    series: str | float = 1.0 / (2 * LOG_TERMS - 1)
    for term in reversed(range(LOG_TERMS - 1)):
        series = write("Add", write("Mul", square, series), 1.0 / (2 * term + 1))
    twice = write("Add", s, s)
    write("Add", write("Max", x, 0.0), write("Mul", twice, series), output=node.output[0])


def _in_double(write: Writer, node: onnx.NodeProto) -> None:
    """Last bits of float64 do not survive the rounding to float32."""
    wide = write("Cast", node.input[0], to=onnx.TensorProto.DOUBLE)
    write("Cast", write(node.op_type, wide), to=onnx.TensorProto.FLOAT, output=node.output[0])


_WRITTEN: Final[Mapping[str, Callable[[Writer, onnx.NodeProto], None]]] = {
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "Softplus": _softplus,
    "Log": _in_double,
    "Sin": _in_double,
    "Cos": _in_double,
}
