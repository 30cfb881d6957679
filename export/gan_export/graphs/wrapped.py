"""A graph made elsewhere behind the artifact's signature: z[, label] -> image, pixels."""

from __future__ import annotations

from typing import Final

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from gan_export.artifact import IMAGE_OUTPUT, LABEL_INPUT, LATENT_INPUT, PIXELS_OUTPUT
from gan_export.conventions import BYTES, TANH
from gan_export.onnx_graph import NewValues, Writer, names_in, names_used
from gan_export.rewrite import same_in_any_batch

from .audit import opset_of
from .images import Images
from .opset import to_opset
from .ports import Port
from .signature import Signature

BATCH: Final = "batch"
INNER: Final = "inner."  # before every name of the graph that was given, so that none of ours is taken
OLDEST_IR: Final = 4  # before, weights had to be inputs
MAX_NAME: Final = 128


def plain(model: ModelProto, signature: Signature) -> ModelProto:
    """What an image needs of an audited model, copied field by field: no notes, no other outputs, any batch size."""
    live = _live(model.graph, signature.output.name)
    given = [port for port in (signature.latent, signature.label) if port is not None]
    graph = _copied(model.graph, live, {port.name for port in given})
    graph.input.extend(_value(port) for port in given)
    graph.output.append(_value(signature.output))
    opset = helper.make_opsetid("", opset_of(model))
    least = helper.find_min_ir_version_for([opset], ignore_unknown=True)
    return helper.make_model(graph, opset_imports=[opset], ir_version=max(OLDEST_IR, least))


def serve(model: ModelProto, signature: Signature, images: Images) -> ModelProto:
    """A plain model with serving's inputs and outputs, in opset 17.

    Raises:
        IntakeError: it can't be expressed in opset 17.
    """
    served = to_opset(model)
    graph = served.graph
    values = NewValues(names_in(graph) | {LATENT_INPUT, LABEL_INPUT, IMAGE_OUTPUT, PIXELS_OUTPUT})
    nodes = [*_inputs(values, signature), *graph.node, *_outputs(values, signature.output, images)]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(values.constants)
    for field in ("input", "output", "value_info"):
        graph.ClearField(field)
    graph.input.append(helper.make_tensor_value_info(LATENT_INPUT, TensorProto.FLOAT, [BATCH, signature.latent_dim]))
    if signature.classes:
        graph.input.append(helper.make_tensor_value_info(LABEL_INPUT, TensorProto.INT64, [BATCH]))
    shape: list[str | int | None] = [BATCH, *images.shape]
    graph.output.append(helper.make_tensor_value_info(IMAGE_OUTPUT, TensorProto.UINT8, shape))
    graph.output.append(helper.make_tensor_value_info(PIXELS_OUTPUT, TensorProto.FLOAT, shape))
    graph.name = "generator"
    served.ClearField("producer_name")
    return same_in_any_batch(served)


def _inputs(values: NewValues, signature: Signature) -> list[NodeProto]:
    """From z and label to the graph's own inputs."""
    write, value = Writer(values, LATENT_INPUT), LATENT_INPUT
    if signature.latent_shape == "map":
        value = write("Unsqueeze", value, np.array([2, 3]))
    write("Cast", value, to=signature.latent.type, output=INNER + signature.latent.name)
    if signature.label is None:
        return write.nodes
    value = LABEL_INPUT
    if signature.label_kind != "ids":
        value = write("OneHot", value, np.array(signature.classes), np.array([0.0, 1.0], np.float32))
        if signature.label_kind == "one_hot_map":
            value = write("Unsqueeze", value, np.array([2, 3]))
    elif signature.label.rank == 2:
        value = write("Unsqueeze", value, np.array([1]))
    write("Cast", value, to=signature.label.type, output=INNER + signature.label.name)
    return write.nodes


def _outputs(values: NewValues, output: Port, images: Images) -> list[NodeProto]:
    """From the graph's own output to pixels and the uint8 image."""
    write, value = Writer(values, PIXELS_OUTPUT), INNER + output.name
    if output.type != TensorProto.FLOAT:
        value = write("Cast", value, to=TensorProto.FLOAT)
    if images.layout == "nhwc":
        value = write("Transpose", value, perm=[0, 3, 1, 2])
    elif images.layout != "nchw":
        value = write("Reshape", value, np.array([-1, *images.shape]))
    if images.value_range != TANH:
        value = write("Div", value, 127.5) if images.value_range == BYTES else write("Mul", value, 2.0)
        value = write("Sub", value, 1.0)
    write("Identity", value, output=PIXELS_OUTPUT)
    steps = write("Round", write("Mul", write("Add", PIXELS_OUTPUT, 1.0), 127.5))
    write("Cast", write("Clip", steps, 0.0, 255.0), to=TensorProto.UINT8, output=IMAGE_OUTPUT)
    return write.nodes


def _value(port: Port) -> ValueInfoProto:
    """An input or output whose first dimension is the batch, also where one size was built in."""
    shape = (
        None if port.shape is None else [BATCH, *(size if isinstance(size, int) else None for size in port.shape[1:])]
    )
    return helper.make_tensor_value_info(INNER + port.name, port.type, shape)


def _live(graph: GraphProto, output: str) -> set[str]:
    """Names of the values that an output is made of."""
    live = {output}
    for node in reversed(graph.node):
        if live.intersection(node.output):
            live |= names_used(node)
    return live


def _copied(graph: GraphProto, live: set[str] | None, given: set[str]) -> GraphProto:
    """Nodes and weights under new names; the signature is left out."""
    copied = GraphProto(name="generator")
    for tensor in graph.initializer:
        if tensor.name not in given and (live is None or tensor.name in live):
            copied.initializer.append(_copied_tensor(tensor, INNER + tensor.name))
    copied.node.extend(_copied_node(node) for node in graph.node if live is None or live.intersection(node.output))
    return copied


def _copied_node(node: NodeProto) -> NodeProto:
    name = node.name if node.name.isprintable() and len(node.name) <= MAX_NAME else ""
    copied = NodeProto(op_type=node.op_type, name=name)
    copied.input.extend(INNER + one if one else "" for one in node.input)
    copied.output.extend(INNER + one if one else "" for one in node.output)
    for attribute in node.attribute:
        plainer = copied.attribute.add(name=attribute.name, type=attribute.type)
        for field in ("f", "i", "s"):
            if attribute.HasField(field):
                setattr(plainer, field, getattr(attribute, field))
        for field in ("floats", "ints", "strings"):
            getattr(plainer, field).extend(getattr(attribute, field))
        _copy_parts(attribute, plainer)
    return copied


def _copy_parts(attribute: AttributeProto, plainer: AttributeProto) -> None:
    if attribute.HasField("t"):
        plainer.t.CopyFrom(_copied_tensor(attribute.t, ""))
    plainer.tensors.extend(_copied_tensor(tensor, "") for tensor in attribute.tensors)
    if attribute.HasField("g"):
        plainer.g.CopyFrom(_inner_graph(attribute.g))
    plainer.graphs.extend(_inner_graph(graph) for graph in attribute.graphs)


def _inner_graph(graph: GraphProto) -> GraphProto:
    copied = _copied(graph, None, set())
    copied.name = "inner"
    for target, values in ((copied.input, graph.input), (copied.output, graph.output)):
        for value in values:
            plainer = target.add(name=INNER + value.name)
            if value.type.HasField("tensor_type"):  # without the shape, where a batch size may be built in
                plainer.type.tensor_type.elem_type = value.type.tensor_type.elem_type
            else:
                plainer.type.CopyFrom(value.type)
    return copied


def _copied_tensor(tensor: TensorProto, name: str) -> TensorProto:
    copied = TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims)
    for field, value in tensor.ListFields():
        if field.name == "raw_data":
            copied.raw_data = value
        elif field.name.endswith("_data"):
            getattr(copied, field.name).extend(value)
    return copied
