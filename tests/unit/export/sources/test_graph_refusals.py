"""What isn't told of a graph is asked for, and what can't be converted is refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from author_graphs import (
    ByteImages,
    Flat,
    Ids,
    Z,
    linear,
    parsed,
    saved,
    served,
    write,
)
from onnx import TensorProto, helper

from gan_export.refusal import BATCH_HINT, IntakeError
from gan_export.sources.graph import GraphOptions, load_graph

pytestmark = pytest.mark.slow

AMBIGUOUS: dict[str, tuple[str, str, dict[str, object], str]] = {
    "two latents": (
        "float[n, 6] a, float[n, 6] b",
        "x = Add(a, b)",
        {},
        r"has 2 inputs that could be the latents: give --latent-input NAME; its inputs: a float32 \(n, 6\), b float32",
    ),
    "no latents": ("int64[n] a", "x = CastLike(a, w)", {}, r"has no inputs that could be the latents"),
    "a wrong name": ("float[n, 6] z", "x = Identity(z)", {"latent_input": "q"}, r"--latent-input q: there is no such"),
    "a wrong length": ("float[n, 6] z", "x = Identity(z)", {"latent_dim": 7}, r"--latent 7: .* give --latent 6"),
    "an unknown length": ("float[n, d] z", "x = Identity(z)", {}, r"latent dimension: give --latent D"),
    "a scalar": ("float[n, 6] z, float psi", "x = Mul(z, psi)", {}, r"needs a value for its input psi float32 \(\)"),
    "classes unknown": (
        "float[n, 6] z, int64[n] k",
        "l = Unsqueeze(k, one) \n f = CastLike(l, w) \n x = Add(z, f)",
        {},
        r"number of classes: give --classes K; its label is k int64 \(n\)",
    ),
    "two labels": ("float[n, 6] z, int64[n] k, int64[n] l", "x = Identity(z)", {}, r"give --label-input NAME"),
    "labels unasked": ("float[n, 6] z", "x = Identity(z)", {"classes": 4}, r"takes no labels, but --classes 4"),
    "ids or one-hot": (
        "float[n, 6] z, int64[n, k] y2",
        "x = Identity(z)",
        {"classes": 4},
        r"give --label-as ids or --label-as one-hot",
    ),
    "one-hot, other size": (
        "float[n, 6] z, float[n, 3] label",
        "x = Identity(z)",
        {"classes": 4},
        r"--classes 4: its label input label float32 \(n, 3\) is for 3 classes",
    ),
    "no image": ("float[n, 6] z", "x = Identity(z)", {"image_shape": (3, 4, 4)}, r"--image-shape 3,4,4: its output"),
    "an odd range": ("float[n, 6] z", "x = Identity(z)", {"output_range": (0.0, 2.0)}, r"--output-range 0,2: use one"),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_is_not_told_is_asked_for(tmp_path, refused, case):
    signature, body, options, complaint = AMBIGUOUS[case]
    path = saved(linear(signature, body, ", int64[1] one = {1}"), tmp_path / "g.onnx")
    refused(path, complaint, **options)


@pytest.mark.parametrize("name", ["z", "label"])
@pytest.mark.parametrize("options", [{}, {"latent_input": "z", "label_input": "label", "label_as": "ids"}])
def test_an_input_without_a_shape_is_refused_whatever_is_said(tmp_path, refused, name, options):
    """ONNX has no such graphs."""
    body = "l = Unsqueeze(label, one) \n f = CastLike(l, w) \n x = Add(z, f)"
    model = linear("float[n, 6] z, int64[n] label", body, ", int64[1] one = {1}")
    next(one for one in model.graph.input if one.name == name).type.tensor_type.ClearField("shape")
    complaint = f"has an input without a shape, '?{name}'?: export it again with"
    refused(saved(model, tmp_path / "g.onnx"), complaint, latent_dim=6, classes=4, **options)


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ("y = Sigmoid(t)", r"between 0\.\d+ and 0\.\d+ on 64 images, which fits both .*: give --output-range"),
        ("m = Abs(t) \n y = Mul(m, big)", r"and 9\d*\.?\d* on 64 images, .*: give --output-range 0,255"),
        (
            "y = Mul(t, big)",
            r"between -9\d*\.?\d* and 9\d*\.?\d* on 64 images: images must be on \[-1, 1\], \[0, 1\] or",
        ),
        ("y = Log(minus)", r"NaN or infinite everywhere"),
    ],
)
def test_a_range_is_never_guessed(tmp_path, refused, node, complaint):
    model = parsed(
        f"g (float[n, 16] z) => (float[n, 1, 4, 4] y) <int64[4] shape = {{-1, 1, 4, 4}}, float big = {{99.0}}, "
        f"float two = {{2.0}}> {{ r = Reshape(z, shape) \n t = Tanh(r) \n minus = Sub(t, two) \n {node} }}"
    )
    refused(saved(model, tmp_path / "g.onnx"), complaint)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            "x = Reshape(z, seven)",
            rf"running Reshape node.*Status Message: The .*shape:\{{4,6\}}, requested shape:\{{7,6\}}{BATCH_HINT}$",
        ),
        ("f = Slice(z, zero, one) \n x = Expand(f, seven)", f"gives .* for 4 latents{BATCH_HINT}$"),
        ("c = Gather(z, ten) \n x = Add(z, c)", r"indices element out of data bounds, idx=10 [^;]*$"),
    ],
)
def test_a_graph_that_can_not_be_run_is_told_of_a_batch_size_only_where_shapes_do_not_fit(
    tmp_path, refused, body, complaint
):
    weights = ", int64[2] seven = {7, 6}, int64[1] ten = {10}, int64[1] zero = {0}, int64[1] one = {1}"
    refused(saved(linear("float[n, 6] z", body, weights), tmp_path / "g.onnx"), f"can't run it with 4 .*{complaint}")


def test_of_a_long_reason_the_beginning_and_the_end_are_told(tmp_path, refused):
    model = linear("float[n, 6] z", "x = Identity(z)")
    model.graph.node[0].attribute.append(helper.make_attribute("far/" * 200, 1))
    complaint = r"Unrecognized attribute: far/[far/]* \.\.\. [far/]* for operator Identity$"
    refused(saved(model, tmp_path / "g.onnx"), complaint)


def test_flat_images_want_a_shape_and_bytes_want_no_range(tmp_path, refused):
    path = write(Flat(), tmp_path / "f.onnx", (torch.randn(3, Z),), 17, False)
    refused(path, r"gives 192 values per image, in a row: give --image-shape C,H,W")
    path = write(ByteImages(), tmp_path / "b.onnx", (torch.randn(3, Z),), 17, False)
    refused(path, r"uint8, which is on \[0, 255\]", output_range=(0.0, 1.0))


def test_class_names_must_fit(tmp_path):
    path = write(Ids(), tmp_path / "g.onnx", (torch.randn(3, Z), torch.tensor([0, 1, 2])), 17, False)
    for names, complaint in ((("a",) * 5, "for 4 classes"), (("a", "a", "c", "d"), "differ from each other")):
        with pytest.raises(IntakeError, match=complaint) as caught:
            load_graph(path, GraphOptions(class_names=names))
        assert str(caught.value).startswith(f"{path}: ")


def test_a_type_that_the_older_opset_lacks_is_refused(tmp_path, refused):
    model = linear("float[n, 6] z", "s = Shape(z) \n c = ConstantOfShape(s) \n f = Cast <to = 1> (c) \n x = Add(z, f)")
    value = helper.make_tensor("v", TensorProto.FLOAT8E4M3FN, [1], [0])
    model.graph.node[1].attribute.append(helper.make_attribute("value", value))
    model.opset_import[0].version = 20
    refused(saved(model, tmp_path / "g.onnx"), "has a tensor v of the type float8e4m3fn, which no generator needs")


def test_an_operator_that_opset_17_lacks_is_named(tmp_path, refused):
    model = linear("float[n, 6] z", "x = Identity(z)")
    model.graph.node[0].op_type = "BitwiseNot"
    model.graph.node[0].input[0] = "k"
    model.graph.node.insert(0, helper.make_node("Cast", ["z"], ["k"], to=TensorProto.INT32))
    model.graph.node[1].output[0] = "m"
    model.graph.node.insert(2, helper.make_node("Cast", ["m"], ["x"], to=TensorProto.FLOAT))
    model.opset_import[0].version = 18
    refused(saved(model, tmp_path / "g.onnx"), r"can't be expressed in opset 17: BitwiseNot")


@pytest.fixture
def refused() -> Callable[..., None]:
    def check(path: Path, complaint: str, **options: object) -> None:
        with pytest.raises(IntakeError, match=complaint) as caught:
            served(path, **options)
        assert str(caught.value).isprintable(), "one line"

    return check
