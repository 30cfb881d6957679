"""Which output of a graph is the image."""

from __future__ import annotations

import math
from dataclasses import replace

from onnx import GraphProto, TensorProto

from gan_export.refusal import IntakeError

from .ports import FLOATS, Port, listed, named, narrowed, ports


def find_output(graph: GraphProto, name: str | None) -> Port:
    """The output that holds the images.

    Args:
        graph: of a generator.
        name: the output's, if it was said.

    Raises:
        IntakeError: there is none, or several may as well be it.
    """
    outputs = ports(graph.output)
    if name is not None:
        port = named(outputs, name, "--output", "output")
    elif outputs:
        port = _largest_image(outputs)
    else:
        raise IntakeError("has no output; export it again")
    if not _may_hold_images(port):
        raise IntakeError(
            f"its output {port.describe()} can't hold images, which must be (N, C, H, W), (N, H, W, C), (N, H, W) or "
            f"(N, C*H*W) of float or uint8; give --output NAME; its outputs: {listed(outputs)}"
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
    possible = narrowed([port for port in outputs if _may_hold_images(port)], _has_channels)
    sizes = {port.name: math.prod(port.fixed(axis) or 0 for axis in range(1, port.rank or 0)) for port in possible}
    largest = [port for port in possible if sizes[port.name] == max(sizes.values())]
    if len(possible) > 1 and (len(largest) > 1 or not all(sizes.values()) or not _has_channels(largest[0])):
        raise IntakeError(
            f"has several outputs that could be the image: give --output NAME; its outputs: {listed(outputs)}"
        )
    return largest[0] if largest else outputs[0]


def _has_channels(port: Port) -> bool:
    """Whether it is seen to be (N, C, H, W) or (N, H, W, C) of 1 or 3 channels."""
    return port.rank == 4 and bool({port.fixed(1), port.fixed(3)} & {1, 3})
