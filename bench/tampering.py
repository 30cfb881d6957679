"""What may happen to an artifact on disk, and the code by which gan-verify should know it; for faults.py."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from gan_export.artifact import CERTIFICATE_FILE, MANIFEST_FILE, load_artifact
from gan_export.artifact.certificate import Certificate
from gan_export.capture import seal
from gan_export.package.variants import ONNX_FILE

Edit = Callable[[onnx.ModelProto], object]


def nothing(directory: Path) -> None:
    """Leave it as it is."""


def flip_a_bit(directory: Path) -> None:
    """In the middle of the file: in a weight."""
    content = bytearray((directory / ONNX_FILE).read_bytes())
    content[len(content) // 2] ^= 0x40
    (directory / ONNX_FILE).write_bytes(content)


def swap(directory: Path) -> None:
    """The same net of another run: other weights, sealed for another manifest."""
    graph = onnx.load(directory / ONNX_FILE)
    enlarge_weight(graph)
    (directory / ONNX_FILE).write_bytes(seal(graph, "0" * 64))


def swap_with_digest(directory: Path) -> None:
    """The same by somebody who also corrects the digest in the manifest."""
    swap(directory)
    correct_digest(directory)


def reverse_classes(directory: Path) -> None:
    """Class names in another order in the manifest."""
    edit_manifest(directory, lambda manifest: manifest["class_names"].reverse())


def resealed(edit: Edit) -> Callable[[Path], None]:
    """The graph edited by somebody who knows how artifacts are sealed: identities and digests are right."""

    def tamper(directory: Path) -> None:
        graph = onnx.load(directory / ONNX_FILE)
        edit(graph)
        (directory / ONNX_FILE).write_bytes(seal(graph, load_artifact(directory).manifest.identity()))
        correct_digest(directory)
        certificate = Certificate.model_validate_json((directory / CERTIFICATE_FILE).read_text())
        variants = load_artifact(directory).manifest.variants_digest()
        (directory / CERTIFICATE_FILE).write_text(
            certificate.model_copy(update={"variants_sha256": variants}).to_json()
        )

    return tamper


def enlarge_weight(graph: onnx.ModelProto) -> None:
    """The largest one, by 1 %."""
    weight = max(graph.graph.initializer, key=lambda tensor: numpy_helper.to_array(tensor).size)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))


def leave_rounding_out(graph: onnx.ModelProto) -> None:
    """The uint8 image is then cut off instead of rounded."""
    (node,) = (node for node in graph.graph.node if node.op_type == "Round")
    for other in graph.graph.node:
        other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]
    graph.graph.node.remove(node)


def correct_digest(directory: Path) -> None:
    """Write the SHA-256 of the graph that is there now into the manifest."""
    digest = hashlib.sha256((directory / ONNX_FILE).read_bytes()).hexdigest()
    edit_manifest(directory, lambda manifest: manifest["variants"][0].update(sha256=digest))


def edit_manifest(directory: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Let `edit` change the manifest in place, as JSON."""
    manifest = json.loads((directory / MANIFEST_FILE).read_text())
    edit(manifest)
    (directory / MANIFEST_FILE).write_text(json.dumps(manifest))


TAMPERINGS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "nothing changed": ("", nothing),
    "one bit changed": ("digest", flip_a_bit),
    "file swapped": ("digest", swap),
    "swapped, digest corrected": ("identity", swap_with_digest),
    "manifest edited": ("identity", reverse_classes),
    "weight changed, resealed": ("tolerance", resealed(enlarge_weight)),
    "rounding out, resealed": ("uint8_rounding", resealed(leave_rounding_out)),
}
