"""How a graph is called: which inputs are the latents and the labels, and what they look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto

from gan_export.artifact.latents import Distribution
from gan_export.conventions import LABEL_NAMES, LATENT_NAMES, ImageShape, LabelKind, LatentShape, Range
from gan_export.refusal import IntakeError
from gan_export.untrusted.messages import shown

from .outputs import find_output
from .ports import FLOATS, INTEGERS, Port, listed, named, narrowed, ports

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
    distribution: Distribution = "normal"
    class_names: Sequence[str] | None = None

    @property
    def known_classes(self) -> int | None:
        """Number of classes, if it was said."""
        return self.classes if self.classes is not None or self.class_names is None else len(self.class_names)


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
            given = label.reshape(-1, 1) if self.label.rank == 2 else label
            if self.label_kind != "ids":
                given = np.zeros((len(label), self.classes), self.label.dtype)
                given[np.arange(len(label)), label] = 1
            given = given.reshape(*given.shape, 1, 1) if self.label_kind == "one_hot_map" else given
            feed[self.label.name] = given.astype(self.label.dtype)
        return feed


def find_signature(graph: GraphProto, options: GraphOptions) -> Signature:
    """How a graph is called, as far as possible from its own inputs and outputs.

    Raises:
        IntakeError: it is ambiguous, or not a generator's; one line with the option that decides.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = ports(graph.input)
    asked = {options.latent_input, options.label_input}
    needed = [port for port in inputs if port.name not in constants or port.name in asked]
    for port in needed:
        if port.type and port.rank is None:
            raise IntakeError(
                f"has an input without a shape, {shown(port.name)}: export it again with example inputs or input types "
                "that have one, such as (N, D) for latents"
            )
    latent = _find_latent(inputs, needed, options)
    others = [port for port in needed if port != latent]
    label = _find_label(inputs, others, options)
    for port in others:
        if port != label:
            raise IntakeError(
                f"needs a value for its input {port.describe()}, which is neither latents nor labels; "
                "export it with that value built in, or give --latent-input or --label-input if it is one of them"
            )
    latent_dim = _latent_dim(latent, options)
    shape: LatentShape = "map" if latent.rank == 4 else "flat"
    output = find_output(graph, options.output)
    if label is not None:
        kind, classes = _classes_of(label, graph, options)
        return Signature(latent, latent_dim, shape, label, kind, classes, output)
    if options.classes:
        raise IntakeError(f"takes no labels, but --classes {options.classes} was given; its inputs: {listed(inputs)}")
    return Signature(latent, latent_dim, shape, None, "none", 0, output)


def _find_latent(inputs: list[Port], needed: list[Port], options: GraphOptions) -> Port:
    if options.latent_input is not None:
        port = named(inputs, options.latent_input, "--latent-input", "input")
        if not _is_latent(port):
            raise IntakeError(
                f"--latent-input: {port.describe()} can't be the latents, which must be float32 (N, D) or "
                f"(N, D, 1, 1); its inputs: {listed(inputs)}"
            )
        return port
    found = [port for port in needed if _is_latent(port) and port.name != options.label_input]
    if options.latent_dim is not None and len(found) > 1:
        found = narrowed(found, lambda port: port.fixed(1) in (None, options.latent_dim))
    found = narrowed(found, lambda port: port.name.lower() not in LABEL_NAMES)
    found = narrowed(found, lambda port: port.name.lower() in LATENT_NAMES)
    if len(found) != 1:
        raise IntakeError(
            f"has {len(found) or 'no'} inputs that could be the latents: give --latent-input NAME; "
            f"its inputs: {listed(inputs)}"
        )
    return found[0]


def _find_label(inputs: list[Port], others: list[Port], options: GraphOptions) -> Port | None:
    if options.label_input is not None:
        return named(inputs, options.label_input, "--label-input", "input")
    found = [port for port in others if _is_label(port, options)]
    found = narrowed(found, lambda port: port.name.lower() in LABEL_NAMES)
    if len(found) > 1:
        raise IntakeError(
            f"has {len(found)} inputs that could be the labels: give --label-input NAME; its inputs: {listed(inputs)}"
        )
    return found[0] if found else None


def _is_latent(port: Port) -> bool:
    if port.type not in FLOATS:
        return False
    return port.rank == 2 or (port.rank == 4 and all(port.fixed(axis) in (None, 1) for axis in (2, 3)))


def _is_label(port: Port, options: GraphOptions) -> bool:
    if port.type in INTEGERS:
        return port.rank in (1, 2)
    likely = port.name.lower() in LABEL_NAMES or options.label_as is not None
    known = options.known_classes is not None and port.rank in (2, 4) and port.fixed(1) == options.known_classes
    return _is_latent(port) and (likely or known)


def _latent_dim(port: Port, options: GraphOptions) -> int:
    found = port.fixed(1)
    if found is None and options.latent_dim is None:
        raise IntakeError(f"does not specify the latent dimension: give --latent D; its input is {port.describe()}")
    if None not in (found, options.latent_dim) and found != options.latent_dim:
        raise IntakeError(f"--latent {options.latent_dim}: its input is {port.describe()}; give --latent {found}")
    dim = found or options.latent_dim or 0
    if not 1 <= dim <= MAX_LATENT:
        raise IntakeError(f"has latents of length {dim}; 1 to {MAX_LATENT:,} are possible")
    return dim


def _classes_of(port: Port, graph: GraphProto, options: GraphOptions) -> tuple[LabelKind, int]:
    kind = _label_kind(port, options)
    said = options.known_classes
    rows = _table_rows(graph, port.name) if kind == "ids" else port.fixed(1)
    if said is not None and rows is not None and (said > rows if kind == "ids" else said != rows):
        raise IntakeError(f"--classes {said}: its label input {port.describe()} is for {rows} classes")
    classes = said if said is not None else rows
    if classes is None:
        raise IntakeError(f"does not specify the number of classes: give --classes K; its label is {port.describe()}")
    if not 1 <= classes <= MAX_CLASSES:
        raise IntakeError(f"has {classes} classes; 1 to {MAX_CLASSES:,} are possible")
    return kind, classes


def _label_kind(port: Port, options: GraphOptions) -> LabelKind:
    width = port.fixed(1) if port.rank in (2, 4) else None
    if port.type not in (*FLOATS, *INTEGERS) or port.rank not in (1, 2, 4):
        raise IntakeError(
            f"--label-input: {port.describe()} can't be the labels, which must be ids (N,) or one-hot (N, K)"
        )
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
