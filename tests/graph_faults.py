"""A sound graph, and changes that make it one that no generator needs."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, parser

HUGE = 25 * 10**9  # float32 values: 100 GB


def graph(body: str = "y = Reshape(h, shape)", constants: str = "", opset: int = 17) -> onnx.ModelProto:
    """z (n, 6) -> h (n, 16) -> y (n, 1, 4, 4) by some lines of ONNX text."""
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    g (float[n, 6] z) => (float[n, 1, 4, 4] y) <int64[4] shape = {{-1, 1, 4, 4}}, float none = {{0.0}}{constants}>
    {{ m = MatMul(z, w) \n h = Tanh(m) \n {body} }}"""
    model = parser.parse_model(text.replace("'", '"'))
    weight = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return model


def changed(change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = graph()
    change(model)
    return bytes(model.SerializeToString())


def external(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[-1]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def weight(**fields: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[-1]
        for name, value in fields.items():
            tensor.ClearField(name)
            if isinstance(value, list):
                getattr(tensor, name).extend(value)
            else:
                setattr(tensor, name, value)

    return change


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def part(tag: int, content: bytes) -> bytes:
    """A field of a protobuf message."""
    return bytes([tag]) + varint(len(content)) + content
