"""Principal directions: found through whatever stands before the first layer, and the ones that move images most."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError
from torch import Tensor, nn

from gan_export.artifact import Manifest
from gan_export.artifact.manifest import MAX_DIRECTIONS
from gan_export.capture import capture
from gan_export.package.directions import first_weight, principal_directions
from gan_export.package.export import Exported
from gan_training.nets import Generator
from gan_training.specs import GeneratorSpec

DIM = 5
RNG = np.random.default_rng(3)
W = RNG.normal(size=(DIM, 12)).astype(np.float32)  # as MatMul takes it
WIDE = RNG.normal(size=(3 + DIM, 12)).astype(np.float32)  # three features before the latent
KERNEL = RNG.normal(size=(DIM, 4, 3, 3)).astype(np.float32)  # of a ConvTranspose
CONV = RNG.normal(size=(4, DIM, 3, 3)).astype(np.float32)
node = helper.make_node


def graph(nodes: list[Any], constants: dict[str, np.ndarray], label: bool = False) -> onnx.ModelProto:
    """A model whose output is what the last node gives, of a rank that doesn't matter."""
    inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", DIM])]
    if label:
        inputs.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "g", inputs, [output], stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pixelwise(z: str, to: str) -> Any:
    return node("Reshape", [z, "pixel"], [to])


PIXEL = {"pixel": np.array([-1, DIM, 1, 1], np.int64)}
TABLE = {"table": RNG.normal(size=(2, 3)).astype(np.float32)}
FOUND = {
    "matmul": (graph([node("MatMul", ["z", "w"], ["y"])], {"w": W}), W.T),
    "gemm": (graph([node("Gemm", ["z", "w"], ["y"], transB=1)], {"w": W.T.copy()}), W.T),
    "a transposed weight": (
        graph([node("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", ["z", "t"], ["y"])], {"w": W.T.copy()}),
        W.T,
    ),
    "beside an embedding": (
        graph(
            [
                node("Gather", ["table", "label"], ["e"]),
                node("Concat", ["e", "z"], ["both"], axis=1),
                node("MatMul", ["both", "w"], ["y"]),
            ],
            TABLE | {"w": WIDE},
            label=True,
        ),
        WIDE[3:].T,
    ),
    "normalised first": (
        graph(
            [
                node("Mul", ["z", "z"], ["squares"]),
                node("ReduceMean", ["squares"], ["mean"], axes=[1]),
                node("Sqrt", ["mean"], ["length"]),
                node("Div", ["z", "length"], ["unit"]),
                node("MatMul", ["unit", "w"], ["y"]),
            ],
            {"w": W},
        ),
        W.T,
    ),
    "transposed convolution": (
        graph([pixelwise("z", "p"), node("ConvTranspose", ["p", "w"], ["y"])], PIXEL | {"w": KERNEL}),
        np.moveaxis(KERNEL, 0, -1).reshape(-1, DIM),
    ),
    "of which padding cuts the rim": (
        graph([pixelwise("z", "p"), node("ConvTranspose", ["p", "w"], ["y"], pads=[1] * 4)], PIXEL | {"w": KERNEL}),
        KERNEL[:, :, 1, 1].T,
    ),
    "convolution that meets one pixel": (
        graph([pixelwise("z", "p"), node("Conv", ["p", "w"], ["y"], pads=[1] * 4)], PIXEL | {"w": CONV}),
        CONV[:, :, 1, 1],
    ),
}


@pytest.mark.parametrize("kind", FOUND)
def test_the_first_layer_is_found(kind: str):
    model, expected = FOUND[kind]
    weight = first_weight(model, DIM)
    assert weight is not None
    # The order of rows means nothing: what counts is A^T A.
    assert np.allclose(weight.T @ weight, expected.T.astype(np.float64) @ expected)


NONE = {
    "a part of the latent": graph(
        [node("Slice", ["z", "from", "to", "axis"], ["half"]), node("MatMul", ["half", "w"], ["y"])],
        {"from": np.array([0]), "to": np.array([3]), "axis": np.array([1]), "w": W[:3].copy()},
    ),
    "squared": graph([node("Mul", ["z", "z"], ["s"]), node("MatMul", ["s", "w"], ["y"])], {"w": W}),
    "through something crooked": graph([node("Tanh", ["z"], ["t"]), node("MatMul", ["t", "w"], ["y"])], {"w": W}),
    "a weight that is computed": graph([node("Mul", ["w", "w"], ["v"]), node("MatMul", ["z", "v"], ["y"])], {"w": W}),
    "a size in the place of padding": graph(
        [pixelwise("z", "p"), node("ConvTranspose", ["p", "w"], ["y"], output_shape=[1, 1])], PIXEL | {"w": KERNEL}
    ),
    "no layer at all": graph([node("Tanh", ["z"], ["y"])], {}),
    "a weight of zeros": graph([node("MatMul", ["z", "w"], ["y"])], {"w": np.zeros_like(W)}),
    "a weight with NaN": graph([node("MatMul", ["z", "w"], ["y"])], {"w": np.full_like(W, np.nan)}),
}


@pytest.mark.parametrize("kind", NONE)
def test_where_there_is_none_there_are_no_directions(kind: str):
    assert principal_directions(NONE[kind], DIM) is None


def test_they_are_orthogonal_unit_vectors_and_each_moves_images_less_than_the_one_before():
    directions = np.array(principal_directions(FOUND["matmul"][0], DIM))
    assert directions.shape == (DIM, DIM)
    assert np.allclose(directions @ directions.T, np.eye(DIM), atol=1e-5)
    moved = np.linalg.norm(directions @ W, axis=1)
    assert (np.diff(moved) < 0).all()
    others = RNG.normal(size=(200, DIM))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    assert (np.linalg.norm(others @ W, axis=1) <= moved[0] + 1e-4).all()
    largest = directions[np.arange(DIM), np.abs(directions).argmax(1)]
    assert (largest > 0).all()


def test_what_the_layer_does_not_see_is_no_direction():
    flat = W.copy()
    flat[2:] = 0
    directions = np.array(principal_directions(graph([node("MatMul", ["z", "w"], ["y"])], {"w": flat}), DIM))
    assert directions.shape == (2, DIM)
    assert not directions[:, 2:].any()


class Scaling(nn.Module):
    """A stranger's generator that scales the latent by an embedding of its class."""

    def __init__(self, like: Generator) -> None:
        super().__init__()
        self.inner, self.scale = like, nn.Embedding(2, like.spec.latent_dim)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return self.inner(z * self.scale(label))  # type: ignore[no-any-return]


def test_a_strangers_generator_that_scales_the_latent_by_its_class_has_some(
    make_net: Callable[[GeneratorSpec], Generator],
):
    net = make_net(GeneratorSpec(image_size=16, channels=1, latent_dim=12, width=4))
    model = capture(Scaling(net).eval(), 12, 2)
    moves_as_its_own(principal_directions(model, 12), net, 12)


def test_a_long_latent_has_those_of_a_short_one(monkeypatch: pytest.MonkeyPatch):
    narrow = W[:, :3].copy()
    for weight in (W, narrow):
        model = graph([node("MatMul", ["z", "w"], ["y"])], {"w": weight})
        monkeypatch.setattr("gan_export.package.directions.LONGEST", DIM)
        expected = principal_directions(model, DIM)
        assert expected is not None
        monkeypatch.setattr("gan_export.package.directions.LONGEST", 3)
        found = principal_directions(model, DIM)
        if weight is W:
            assert found is None
        else:
            assert np.allclose(found, expected, atol=1e-5)


def test_twenty_thousand_numbers_take_no_time():
    weight = RNG.normal(size=(20_000, 6)).astype(np.float32)
    made = helper.make_graph(
        [node("MatMul", ["z", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 20_000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    found = np.array(principal_directions(helper.make_model(made), 20_000))
    assert found.shape == (6, 20_000)
    assert np.allclose(np.linalg.norm(found @ weight, axis=1), np.linalg.svd(weight, compute_uv=False), rtol=1e-3)


def moves_as_its_own(directions: list[list[float]] | None, net: Generator, dim: int) -> None:
    """They move the net's first layer as much as that layer's own eigenvectors do."""
    weight = net.project.weight.detach().double().numpy()[:, :dim]  # those of the latent; behind them the embedding's
    own = np.linalg.eigvalsh(weight.T @ weight)[::-1][:MAX_DIRECTIONS]
    assert np.allclose(np.linalg.norm(np.array(directions) @ weight.T, axis=1) ** 2, own, rtol=1e-3)


def test_an_artifact_has_them_sealed_and_one_without_keeps_its_identity(
    faces: Exported, faces_spec: GeneratorSpec, make_net: Callable[[GeneratorSpec], Generator]
):
    manifest = faces.artifact.manifest
    assert manifest.directions is not None
    moves_as_its_own(manifest.directions, make_net(faces_spec), faces_spec.latent_dim)
    without = manifest.model_copy(update={"directions": None})
    assert without.identity() != manifest.identity()
    # An artifact of before has no such field, and must have the same identity.
    old = without.model_dump(mode="json")
    del old["directions"]
    assert Manifest.model_validate(old).identity() == without.identity()
    turned = [[-value for value in row] for row in manifest.directions]
    assert manifest.model_copy(update={"directions": turned}).identity() != manifest.identity()


@pytest.mark.parametrize("wrong", ["short", "long", "nan", "many", "none"])
def test_a_manifest_with_others_is_refused(faces: Exported, wrong: str):
    content = faces.artifact.manifest.model_dump(mode="json")
    first = content["directions"][0]
    content["directions"] = {
        "short": [first[:-1]],
        "long": [[2 * value for value in first]],
        "nan": [[math.nan] * len(first)],
        "many": [first] * (MAX_DIRECTIONS + 1),
        "none": [],
    }[wrong]
    with pytest.raises(ValidationError, match="directions"):
        Manifest.model_validate(content)
