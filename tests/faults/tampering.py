"""What somebody can do to an artifact after its export."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from gan_export.artifact import load_artifact
from gan_export.artifact.certificate import Certificate
from gan_export.capture import seal


def change(directory: Path, edit: Callable[[onnx.ModelProto], object]) -> None:
    """Somebody who knows how artifacts are sealed changes the graph: digests and identities are right again."""
    manifest = load_artifact(directory).manifest
    graph = onnx.load(directory / "generator.onnx")
    edit(graph)
    content = seal(graph, manifest.identity())
    (directory / "generator.onnx").write_bytes(content)
    edit_json(directory / "manifest.json", lambda m: m["variants"][0].update(sha256=digest_of(content)))
    seal_certificate(directory)


def seal_certificate(directory: Path, **changed: object) -> None:
    """Changes fields of the certificate; its digests are right again."""
    path = directory / "certificate.json"
    stored = Certificate.model_validate_json(path.read_text())
    variants = load_artifact(directory).manifest.variants_digest()
    path.write_text(stored.model_copy(update={"variants_sha256": variants} | changed).to_json())


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def edit_json(path: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def flip(variant: dict, key: str) -> None:
    variant[key] = not variant[key]


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def scale_a_weight(graph: onnx.ModelProto) -> None:
    weight = max(graph.graph.initializer, key=lambda tensor: numpy_helper.to_array(tensor).size)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))


def nan_weight(graph: onnx.ModelProto) -> None:
    weight = max(graph.graph.initializer, key=lambda tensor: numpy_helper.to_array(tensor).size)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32("nan"), weight.name))


def drop_rounding(graph: onnx.ModelProto) -> None:
    (node,) = (node for node in graph.graph.node if node.op_type == "Round")
    for other in graph.graph.node:
        other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]
    graph.graph.node.remove(node)


def other_eps(graph: onnx.ModelProto) -> None:
    (node,) = (node for node in graph.graph.node if node.op_type == "BatchNormalization")
    (epsilon,) = (attribute for attribute in node.attribute if attribute.name == "epsilon")
    epsilon.f = 0.1


def look_at_the_batch(graph: onnx.ModelProto) -> None:
    """Pixels depend on those of the whole batch, by less than the tolerance."""
    (tanh,) = (node for node in graph.graph.node if node.op_type == "Tanh")
    given, made = tanh.input[0], ["mean_of_batch", "part_of_it", "moved"]
    graph.graph.initializer.append(numpy_helper.from_array(np.float32(1e-5), "little"))
    nodes = [
        onnx.helper.make_node("ReduceMean", [given], made[:1], axes=[0]),
        onnx.helper.make_node("Mul", [made[0], "little"], made[1:2]),
        onnx.helper.make_node("Add", [given, made[1]], made[2:]),
    ]
    tanh.input[0] = made[2]
    place = list(graph.graph.node).index(tanh)
    for node in reversed(nodes):
        graph.graph.node.insert(place, node)


def mirror_image(graph: onnx.ModelProto) -> None:
    """The uint8 image alone, as by swapped colours: the float pixels are the right ones."""
    (cast,) = (node for node in graph.graph.node if "image" in node.output)
    cast.output[0] = "before"
    numbers = {"from": -1, "to": -(10**6), "dim": 3, "step": -1}
    graph.graph.initializer.extend(numpy_helper.from_array(np.array([n]), name) for name, n in numbers.items())
    graph.graph.node.append(onnx.helper.make_node("Slice", ["before", *numbers], ["image"]))


def better_figures(directory: Path) -> None:
    edit_json(directory / "certificate.json", lambda c: c["results"][0]["against_float32"].update(max_abs=1e-9))


def wider_tolerance(directory: Path) -> None:
    edit_json(directory / "certificate.json", lambda c: c["options"].update(tolerance=1.0))


def swap_graph(directory: Path) -> None:
    """A graph that was sealed for another manifest, with its digest in this one."""
    graph = onnx.load(directory / "generator.onnx")
    content = seal(graph, "0" * 64)
    (directory / "generator.onnx").write_bytes(content)
    edit_json(directory / "manifest.json", lambda m: m["variants"][0].update(sha256=digest_of(content)))


def other_golden(directory: Path) -> None:
    """Golden images of another generator, with the digest in the manifest put right: the graph's own seal tells."""
    with np.load(directory / "golden.npz") as stored:
        arrays = dict(stored)
    arrays["pixels"] = -arrays["pixels"]
    np.savez(directory / "golden.npz", **arrays)
    sha256 = digest_of((directory / "golden.npz").read_bytes())
    edit_json(directory / "manifest.json", lambda m: m["golden"].update(sha256=sha256))


def rename_variant(directory: Path) -> None:
    edit_json(directory / "manifest.json", lambda m: m["variants"][0].update(name="exact"))


def add_variant(directory: Path) -> None:
    """The exact graph under the name of another variant, which nobody certified."""
    edit_json(directory / "manifest.json", lambda m: m["variants"].append(m["variants"][0] | {"name": "int8"}))


def edit_variant(**changed: object) -> Callable[[Path], object]:
    """Edits the first of the manifest's variants."""
    return lambda d: edit_json(d / "manifest.json", lambda m: m["variants"][0].update(changed))
