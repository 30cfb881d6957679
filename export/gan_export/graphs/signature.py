"""Which inputs of a graph are the latents and the labels, which output the image, and what they look like."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from gan_export.refusal import IntakeError

from .audit import shown

LatentShape = Literal["flat", "map"]
LabelKind = Literal["none", "ids", "one_hot", "one_hot_map"]
ImageShape: TypeAlias = tuple[int, int, int]  # (C, H, W)
Range: TypeAlias = tuple[float, float]

FLOATS: Final = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
INTEGERS: Final = (TensorProto.INT64, TensorProto.INT32)
LATENT_WORDS: Final = {"z", "noise", "latent", "latents", "latent_code", "noise_vector"}
LABEL_WORDS: Final = {
    *("y", "c", "label", "labels", "gen_labels", "class", "classes", "cls", "cond", "condition", "one_hot", "onehot"),
    *("class_label", "class_labels", "class_id", "class_ids", "class_vector", "target", "targets"),
}
MAX_LISTED: Final = 6
MAX_LATENT: Final = 65_536
MAX_CLASSES: Final = 65_536


@dataclass(frozen=True)
class GraphOptions:
    """What whoever exports has said about an ONNX file; None is to be found out."""

    latent_input: str | None = None
    label_input: str | None = None
    output: str | None = None
    latent_dim: int | None = None
    classes: int | None = None
    image_shape: ImageShape | None = None
    output_range: Range | None = None
    label_as: Literal["ids", "one_hot"] | None = None
    latent: Literal["normal", "uniform"] = "normal"
    class_names: Sequence[str] | None = None

    @property
    def known_classes(self) -> int | None:
        """Number of classes, if it was said."""
        return self.classes if self.classes is not None or self.class_names is None else len(self.class_names)


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    name: str
    type: int  # of TensorProto; 0 for no tensor
    shape: tuple[int | str, ...] | None  # text for a dimension that is not fixed; None if nothing is known

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return helper.tensor_dtype_to_np_dtype(self.type)

    def fixed(self, axis: int) -> int | None:
        """Length of an axis; None if it is not fixed."""
        size = None if self.shape is None else self.shape[axis]
        return size if isinstance(size, int) else None

    def describe(self) -> str:
        """Name, type and shape in words."""
        types = {number: word.lower() for word, number in TensorProto.DataType.items()}
        kind = {"float": "float32", "double": "float64", "undefined": "no tensor"}.get(
            types.get(self.type, "?"), types.get(self.type, "?")
        )
        shape = "of unknown shape" if self.shape is None else f"({', '.join(map(str, self.shape))})"
        return f"{shown(self.name)} {kind} {shown(shape)}"


@dataclass(frozen=True)
class Signature:
    """How a graph is called."""

    latent: Port
    latent_dim: int
    latent_shape: LatentShape
    label: Port | None
    label_kind: LabelKind
    classes: int  # 0 without labels
    output: Port

    def feed(self, z: NDArray[np.float32], label: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Latents (N, D) and ids (N,) as the graph wants them."""
        latent = z.astype(self.latent.dtype)
        feed = {self.latent.name: latent.reshape(*latent.shape, 1, 1) if self.latent_shape == "map" else latent}
        if self.label is not None:
            ids = label.reshape(-1, 1) if self.label.rank == 2 else label
            hot = np.eye(self.classes)[label] if self.label_kind != "ids" else ids
            hot = hot.reshape(*hot.shape, 1, 1) if self.label_kind == "one_hot_map" else hot
            feed[self.label.name] = hot.astype(self.label.dtype)
        return feed


def ports(values: Iterable[ValueInfoProto]) -> list[Port]:
    """Inputs or outputs as plain data."""
    found = []
    for value in values:
        tensor = value.type.tensor_type
        shape = None
        if tensor.HasField("shape"):
            shape = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim
            )
        found.append(Port(value.name, tensor.elem_type, shape))
    return found


def find_signature(graph: GraphProto, options: GraphOptions) -> Signature:
    """How a graph is called, as far as possible from its own inputs and outputs.

    Raises:
        IntakeError: it is ambiguous, or not a generator's; one line with the option that decides.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = ports(graph.input)
    asked = {options.latent_input, options.label_input}
    needed = [port for port in inputs if port.name not in constants or port.name in asked]
    latent = _find_latent(inputs, needed, options)
    others = [port for port in needed if port != latent]
    label = _find_label(inputs, others, options)
    for port in others:
        if port != label:
            raise IntakeError(
                f"needs a value for its input {port.describe()}, which is neither latents nor labels; "
                "export it with that value built in, or say --latent-input or --label-input if it is one of them"
            )
    latent_dim = _latent_dim(latent, options)
    shape: LatentShape = "map" if latent.rank == 4 else "flat"
    kind, classes = ("none", 0) if label is None else _classes_of(label, graph, options)
    if label is None and options.classes:
        raise IntakeError(f"takes no labels, but --classes {options.classes} was given; its inputs: {_listed(inputs)}")
    return Signature(latent, latent_dim, shape, label, kind, classes, _find_output(graph, options))  # type: ignore[arg-type]


def _find_latent(inputs: list[Port], needed: list[Port], options: GraphOptions) -> Port:
    if options.latent_input is not None:
        port = _named(inputs, options.latent_input, "--latent-input", "input")
        if not _is_latent(port):
            raise IntakeError(
                f"--latent-input: {port.describe()} is no latent; float32 (N, D) or (N, D, 1, 1) is wanted; "
                f"its inputs: {_listed(inputs)}"
            )
        return port
    found = [port for port in needed if _is_latent(port) and port.shape and port.name != options.label_input]
    if options.latent_dim is not None and len(found) > 1:
        found = _narrowed(found, lambda port: port.fixed(1) in (None, options.latent_dim))
    found = _narrowed(found, lambda port: port.name.lower() not in LABEL_WORDS)
    found = _narrowed(found, lambda port: port.name.lower() in LATENT_WORDS)
    if len(found) != 1:
        raise IntakeError(
            f"has {len(found) or 'no'} inputs that can be the latents: give --latent-input NAME; "
            f"its inputs: {_listed(inputs)}"
        )
    return found[0]


def _find_label(inputs: list[Port], others: list[Port], options: GraphOptions) -> Port | None:
    if options.label_input is not None:
        return _named(inputs, options.label_input, "--label-input", "input")
    found = [port for port in others if _is_label(port, options)]
    found = _narrowed(found, lambda port: port.name.lower() in LABEL_WORDS)
    if len(found) > 1:
        raise IntakeError(
            f"has {len(found)} inputs that can be the labels: give --label-input NAME; its inputs: {_listed(inputs)}"
        )
    return found[0] if found else None


def _is_latent(port: Port) -> bool:
    if port.type not in FLOATS:
        return False
    return port.rank in (None, 2) or (port.rank == 4 and all(port.fixed(axis) in (None, 1) for axis in (2, 3)))


def _is_label(port: Port, options: GraphOptions) -> bool:
    if port.type in INTEGERS:
        return port.rank in (1, 2)
    likely = port.name.lower() in LABEL_WORDS or options.label_as is not None
    known = options.known_classes is not None and port.rank in (2, 4) and port.fixed(1) == options.known_classes
    return _is_latent(port) and port.rank is not None and (likely or known)


def _latent_dim(port: Port, options: GraphOptions) -> int:
    found = port.fixed(1) if port.rank else None
    if found is None and options.latent_dim is None:
        raise IntakeError(f"does not tell the length of a latent: give --latent D; its input is {port.describe()}")
    if None not in (found, options.latent_dim) and found != options.latent_dim:
        raise IntakeError(f"--latent {options.latent_dim}: its input is {port.describe()}; give --latent {found}")
    dim = found or options.latent_dim or 0
    if not 1 <= dim <= MAX_LATENT:
        raise IntakeError(f"has latents of length {dim}; 1 to {MAX_LATENT:,} is possible")
    return dim


def _classes_of(port: Port, graph: GraphProto, options: GraphOptions) -> tuple[LabelKind, int]:
    kind = _label_kind(port, options)
    said = options.known_classes
    rows = _table_rows(graph, port.name) if kind == "ids" else port.fixed(1) if port.shape else None
    if said is not None and rows is not None and (said > rows if kind == "ids" else said != rows):
        raise IntakeError(f"--classes {said}: its label input {port.describe()} is for {rows} classes")
    classes = said if said is not None else rows
    if classes is None:
        raise IntakeError(f"does not tell how many classes it has: give --classes K; its label is {port.describe()}")
    if not 1 <= classes <= MAX_CLASSES:
        raise IntakeError(f"has {classes} classes; 1 to {MAX_CLASSES:,} is possible")
    return kind, classes


def _label_kind(port: Port, options: GraphOptions) -> LabelKind:
    width = port.fixed(1) if port.rank in (2, 4) else None
    if port.type not in (*FLOATS, *INTEGERS) or port.rank not in (None, 1, 2, 4):
        raise IntakeError(f"--label-input: {port.describe()} is no label; ids (N,) or one-hot (N, K) is wanted")
    if port.rank == 4:
        possible: list[LabelKind] = ["one_hot_map"]
    elif port.rank == 1:
        possible = ["ids"]
    elif width is None:
        possible = ["one_hot"] if port.rank == 2 and port.type in FLOATS else ["ids", "one_hot"]
    else:
        possible = ["one_hot"] if width > 1 else ["ids"] if port.type in INTEGERS else ["ids", "one_hot"]
    if options.label_as is not None:
        possible = [kind for kind in possible if kind.startswith(options.label_as)]
    if len(possible) != 1:
        asked = f"--label-as {options.label_as.replace('_', '-')}: " if options.label_as else ""
        wanted = "it can't be" if not possible else "give --label-as ids or --label-as one-hot"
        raise IntakeError(f"{asked}its label input is {port.describe()}; {wanted}")
    return possible[0]


def _table_rows(graph: GraphProto, name: str) -> int | None:
    """Rows of the embedding that ids of this name look up; None if that is not seen."""
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    ids = {name}
    for node in graph.node:
        if node.op_type in ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten") and node.input[0] in ids:
            ids.update(node.output)
        if node.op_type == "Gather" and len(node.input) == 2 and node.input[1] in ids and sizes.get(node.input[0]):
            axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
            return int(sizes[node.input[0]][axis]) if axis == 0 else None
    return None


def _find_output(graph: GraphProto, options: GraphOptions) -> Port:
    outputs = ports(graph.output)
    if options.output is not None:
        port = _named(outputs, options.output, "--output", "output")
    elif outputs:
        port = _largest_image(outputs)
    else:
        raise IntakeError("has no output; export it again")
    if not _may_hold_images(port):
        raise IntakeError(
            f"its output {port.describe()} holds no images: (N, C, H, W), (N, H, W, C), (N, H, W) or (N, C*H*W) of "
            f"float or uint8 is wanted; give --output NAME; its outputs: {_listed(outputs)}"
        )
    return replace(port)


def _may_hold_images(port: Port) -> bool:
    return port.type in (*FLOATS, TensorProto.UINT8) and port.rank in (None, 2, 3, 4)


def _largest_image(outputs: list[Port]) -> Port:
    """Of several outputs the one that is seen to hold images, of several resolutions the largest; the first if none
    may hold any.

    Raises:
        IntakeError: several may as well be it.
    """
    possible = _narrowed([port for port in outputs if _may_hold_images(port)], _has_channels)
    sizes = {port.name: math.prod(port.fixed(axis) or 0 for axis in range(1, port.rank or 0)) for port in possible}
    largest = [port for port in possible if sizes[port.name] == max(sizes.values())]
    if len(possible) > 1 and (len(largest) > 1 or not all(sizes.values()) or not _has_channels(largest[0])):
        raise IntakeError(f"which of its outputs is the image? Give --output NAME; its outputs: {_listed(outputs)}")
    return largest[0] if largest else outputs[0]


def _has_channels(port: Port) -> bool:
    """Whether it is seen to be (N, C, H, W) or (N, H, W, C) of 1 or 3 channels."""
    return port.rank == 4 and bool({port.fixed(1), port.fixed(3)} & {1, 3})


def _named(found: list[Port], name: str, option: str, kind: str) -> Port:
    for port in found:
        if port.name == name:
            return port
    raise IntakeError(f"{option} {shown(name)}: it has no such {kind}; its {kind}s: {_listed(found)}")


def _narrowed(found: list[Port], wanted: Callable[[Port], bool]) -> list[Port]:
    """Those that are wanted; all if none is."""
    return [port for port in found if wanted(port)] or found


def _listed(found: list[Port]) -> str:
    more = f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return (", ".join(port.describe() for port in found[:MAX_LISTED]) or "none") + more
