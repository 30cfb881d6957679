"""ONNX files made elsewhere: found out how they are called, wrapped, certified, and the same images as their own."""

import tracemalloc

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from author_graphs import (
    CLOSE,
    LABEL,
    SIZE,
    ByteImages,
    Doubled,
    Flat,
    Grey,
    Ids,
    IdsFirst,
    K,
    LastChannel,
    LatentMap,
    Linear,
    Net,
    OneHot,
    OneHotMap,
    Sigmoid,
    Tanh,
    ToneMapped,
    Z,
    author_images,
    latents,
    linear,
    parsed,
    pixels_of,
    saved,
    served,
    write,
)
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from gan_export.artifact import draw, open_session, run_session
from gan_export.artifact.certificate import Options
from gan_export.graphs.ports import Port
from gan_export.graphs.signature import Signature
from gan_export.package.export import export
from gan_export.refusal import ExportError, IntakeError
from gan_export.sources.graph import FAMILY, NO_MODULE, GraphOptions, load_graph

pytestmark = pytest.mark.slow
HOT = np.eye(K, dtype=np.float32)[LABEL]
PLAIN = {
    "opset 11": (Tanh, 11, False, {}, lambda raw: raw),
    "opset 13": (Tanh, 13, False, {}, lambda raw: raw),
    "opset 17": (Tanh, 17, False, {}, lambda raw: raw),
    "opset 18": (Tanh, 18, True, {}, lambda raw: raw),
    "opset 20": (Tanh, 20, True, {}, lambda raw: raw),
    "sigmoid": (Sigmoid, 17, False, {}, lambda raw: raw * 2 - 1),
    "0 to 255": (ToneMapped, 17, False, {}, lambda raw: raw / 127.5 - 1),
    "uint8, NHWC": (ByteImages, 17, False, {}, lambda raw: raw.transpose(0, 3, 1, 2) / 127.5 - 1),
    "NHWC": (LastChannel, 15, False, {}, lambda raw: raw.transpose(0, 3, 1, 2)),
    "(N, H, W)": (Grey, 17, False, {}, lambda raw: raw[:, None]),
    "flat": (Flat, 17, False, {"image_shape": (3, SIZE, SIZE)}, lambda raw: raw.reshape(-1, 3, SIZE, SIZE)),
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_graph_keeps_its_images(tmp_path, case):
    net, opset, modern, options, mapped = PLAIN[case]
    path = write(net(), tmp_path / "g.onnx", (torch.randn(3, Z),), opset, modern)
    model = served(path, **options)
    assert [one.version for one in model.opset_import] == [17]
    found = pixels_of(model, latents())
    assert np.abs(found - mapped(author_images(path, latents()))).max() < CLOSE


CERTIFIED = {
    "sigmoid": (Sigmoid, (torch.randn(3, Z),), {"output_range": (0.0, 1.0)}, {}),
    "uint8": (ByteImages, (torch.randn(3, Z),), {}, {"tolerance": 2.01 / 255}),
    "ids": (Ids, (torch.randn(3, Z), torch.tensor([0, 1, 2])), {}, {}),
    "float16": (lambda: Tanh().half(), (torch.randn(3, Z).half(),), {}, {}),
}


@pytest.mark.parametrize("case", CERTIFIED)
def test_the_artifact_is_certified_and_gives_the_images_of_the_graph(tmp_path, case):
    net, example, given, certified_with = CERTIFIED[case]
    path = write(net(), tmp_path / "g.onnx", example, 17, False)
    source = load_graph(path, GraphOptions(**given))
    artifact = export(source, "g", tmp_path / "g", options=Options(**certified_with)).artifact
    label = LABEL if source.classes else None
    found = run_session(open_session(artifact), latents(), label, pixels=True)[1]
    off = np.abs(found - pixels_of(source.generator, latents(), label))
    assert off.max() < certified_with.get("tolerance", CLOSE)
    assert (off >= CLOSE).mean() < 0.01, "where a graph rounds, what lies on the edge may fall to either side"
    assert artifact.manifest.family == FAMILY


LABELLED = {
    "ids": (Ids, (torch.randn(3, Z), torch.tensor([0, 1, 2])), {}, lambda z: (z, LABEL)),
    "int32 ids (N, 1), first": (
        IdsFirst,
        (torch.tensor([[0], [1], [2]], dtype=torch.int32), torch.randn(3, Z)),
        {},
        lambda z: (LABEL[:, None].astype(np.int32), z),
    ),
    "one-hot": (
        OneHot,
        (torch.randn(3, Z), torch.eye(K)[:3]),
        {"label_input": "in_1", "class_names": ("a", "b", "c", "d")},
        lambda z: (z, HOT),
    ),
    "maps": (
        OneHotMap,
        (torch.randn(3, Z, 1, 1), torch.eye(K)[:3].view(3, K, 1, 1)),
        {"classes": K, "latent_dim": Z},
        lambda z: (z[..., None, None], HOT[..., None, None]),
    ),
}


@pytest.mark.parametrize("case", LABELLED)
def test_labels_reach_the_graph_as_it_wants_them(tmp_path, case):
    net, example, options, feed = LABELLED[case]
    path = write(net(), tmp_path / "g.onnx", example, 17, False)
    model = served(path, **options)
    assert [one.name for one in model.graph.input] == ["z", "label"]
    found = pixels_of(model, latents(), LABEL)
    assert np.abs(found - author_images(path, *feed(latents()))).max() < CLOSE


def test_latent_maps_and_a_batch_of_one_that_is_only_declared(tmp_path):
    path = write(LatentMap(), tmp_path / "g.onnx", (torch.randn(1, Z, 1, 1),), 17, False, fixed=True)
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    found = pixels_of(served(path), latents())
    wanted = np.concatenate([author_images(path, one[None, :, None, None]) for one in latents()])
    assert np.abs(found - wanted).max() < CLOSE


def test_a_batch_that_is_built_into_a_reshape_is_refused(tmp_path, capfd):
    class Fixed(Net):
        def forward(self, z):
            return torch.tanh(self.draw(z)).reshape(1, 3, SIZE, SIZE)

    path = write(Fixed(), tmp_path / "g.onnx", (torch.randn(1, Z),), 17, False, fixed=True)
    capfd.readouterr()
    with pytest.raises((ExportError, RuntimeError)) as caught:
        export(load_graph(path, GraphOptions()), "g", tmp_path / "g")
    assert caught.value.code == "dynamic_batch"
    assert str(caught.value).endswith("; if a batch size is built in, export it with a dynamic first dimension")
    assert capfd.readouterr().err == ""  # ONNX Runtime's own log
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize(("net", "kind"), [(Tanh, torch.float16), (Linear, torch.float64)])
def test_other_float_types_are_cast_at_both_ends(tmp_path, net, kind):
    path = write(net().to(kind), tmp_path / "g.onnx", (torch.randn(3, Z).to(kind),), 17, False)
    z = latents().astype(np.float16)
    found = pixels_of(served(path), z.astype(np.float32))
    wanted = author_images(path, z.astype(str(kind).removeprefix("torch."))).astype(np.float32)
    assert np.abs(found - wanted).max() < (CLOSE if kind == torch.float64 else 2e-3)


def test_another_output_is_chosen_by_name(tmp_path):
    path = write(Doubled(), tmp_path / "g.onnx", (torch.randn(3, Z),), 17, False)
    outputs = [one.name for one in onnx.load(path).graph.output]
    with pytest.raises(IntakeError, match=r"can't hold images.* give --output NAME; its outputs: "):
        served(path, output=outputs[0])
    for options in ({"output": outputs[1]}, {}):
        found = pixels_of(served(path, **options), latents())
        assert np.abs(found - author_images(path, latents(), output=1)).max() < CLOSE


@pytest.mark.parametrize(
    ("outputs", "side"),
    [
        ("float[n, 3, 4, 4] low, float[n, 3, 8, 8] image", 8),
        ("float[n, 192] t, float[n, 3, 4, 4] low", 4),
        ("float[n, 192] t, float[n, 8, 8, 3] last", 8),
        ("float[n, 3, 8, 8] image, float[n, 3, 8, 8] other", None),
        ("float[n, 192] t, float[n, 192] u", None),
        ("float[n, 3, a, b] image, float[n, 3, c, d] low", None),
    ],
)
def test_of_several_outputs_the_largest_images_are_taken_or_it_is_asked(tmp_path, outputs, side):
    model = parsed(
        f"g (float[n, 192] z) => ({outputs}) <int64[4] shape = {{-1, 3, 8, 8}}> {{ t = Tanh(z) \n u = Neg(t) \n "
        "image = Reshape(t, shape) \n other = Neg(image) \n last = Transpose<perm = [0, 2, 3, 1]>(image) \n "
        "low = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(image) }"
    )
    path = saved(model, tmp_path / "g.onnx")
    if side is None:
        with pytest.raises(IntakeError, match="could be the image: give --output NAME; its outputs: "):
            served(path)
        return
    z = draw(range(4), 192, "normal").latents
    assert pixels_of(served(path), z).shape == (4, 3, side, side)


def test_noise_inside_the_graph_is_left_to_the_certificate(tmp_path):
    body = "e = RandomNormalLike(z) \n x = Add(z, e)"
    path = saved(linear("float[n, 6] z", body), tmp_path / "g.onnx")
    with pytest.raises(ExportError) as caught:
        export(load_graph(path, GraphOptions()), "g", tmp_path / "g")
    assert caught.value.code == "deterministic"


def test_what_is_known_of_the_graph_goes_with_the_artifact(tmp_path):
    path = write(Ids(), tmp_path / "g.onnx", (torch.randn(3, Z), torch.tensor([0, 1, 2])), 17, False)
    model = onnx.load(path)
    model.doc_string = model.graph.doc_string = "/home/somebody/secret"
    model.producer_name = "py\x07torch" + "x" * 100
    onnx.save(model, path)
    source = load_graph(path, GraphOptions(distribution="uniform"))
    assert (source.family, source.weights, source.latent.distribution) == (FAMILY, "raw", "uniform")
    assert source.notes[0] == NO_MODULE
    assert source.notes[1].startswith(
        f"Its own graph takes latents (N, {Z}) and labels as ids (N,) and gives images as NCHW"
    )
    assert source.hyperparameters["producer"] == ("pytorch" + "x" * 100)[:64]
    assert source.hyperparameters["opset"] == 17
    assert (source.hyperparameters["latent_input"], source.hyperparameters["label_input"]) == ("in_0", "in_1")
    assert source.hyperparameters["convention"]["label"] == "ids"
    assert isinstance(source.generator, onnx.ModelProto)
    onnx.checker.check_model(source.generator, full_check=True)
    assert [one.version for one in source.generator.opset_import] == [17]
    assert b"secret" not in source.generator.SerializeToString()


def test_an_input_with_a_default_is_left_at_it(tmp_path):
    model = linear("float[n, 6] z, float psi", "x = Mul(z, psi)")
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "psi"))
    path = saved(model, tmp_path / "g.onnx")
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    found = pixels_of(served(path), latents())
    assert np.abs(found - session.run(None, {"z": latents()})[0]).max() < CLOSE


def test_names_of_the_graph_do_not_get_in_the_way(tmp_path):
    text = "float[n, 6] label, int64[n] z"
    body = "e = Gather(image, z) \n pixels = Mul(label, e) \n x = Identity(pixels)"
    model = linear(text, body)
    rng = np.random.default_rng(1)
    model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=(4, 6)).astype(np.float32), "image"))
    path = saved(model, tmp_path / "g.onnx")
    found = pixels_of(served(path, latent_input="label", label_input="z"), latents(), LABEL)
    assert np.abs(found - author_images(path, latents(), LABEL)).max() < CLOSE


def test_functions_of_the_file_are_unfolded(tmp_path):
    model = linear("float[n, 6] z", "x = Identity(z)")
    body = [helper.make_node("Mul", ["a", "a"], ["b"]), helper.make_node("Add", ["a", "b"], ["c"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("mine", "Bend", ["a"], ["c"], body, opsets))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node[0].op_type, model.graph.node[0].domain = "Bend", "mine"
    path = saved(model, tmp_path / "g.onnx")
    found = pixels_of(served(path), latents())
    assert np.abs(found - author_images(path, latents())).max() < CLOSE


class FromConstant(Tanh):
    """Begins with a constant that is repeated for the batch, as StyleGAN does."""

    def __init__(self) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.full((1, 1, 1, 1), 0.7))

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) * self.constant.expand(z.shape[0], -1, -1, -1)


def test_a_constant_that_is_repeated_needs_no_other_opset(tmp_path):
    """ConstantOfShape, which ONNX can't convert to opset 18, has got more types since, and nothing else."""
    path = write(FromConstant(), tmp_path / "g.onnx", (torch.randn(3, Z),), 20, modern=False)
    assert "ConstantOfShape" in {node.op_type for node in onnx.load(path).graph.node}
    model = served(path)
    assert [one.version for one in model.opset_import] == [17]
    assert np.abs(pixels_of(model, latents()) - author_images(path, latents())).max() < CLOSE


def test_what_changed_is_converted_beside_what_has_no_conversion(tmp_path):
    """ReduceMax has got a type and a sentence in opset 20, so it is left to ONNX's converter."""
    body = (
        "s = Shape(z) \n c = ConstantOfShape(s) \n m = ReduceMax <keepdims = 1> (z) \n a = Add(z, c) \n x = Add(a, m)"
    )
    model = linear("float[n, 6] z", body)
    model.opset_import[0].version = 20
    path = saved(model, tmp_path / "g.onnx")
    converted = served(path)
    assert [(one.domain, one.version) for one in converted.opset_import] == [("", 17)]
    assert {node.domain for node in converted.graph.node} == {""}
    assert np.abs(pixels_of(converted, latents(1)) - author_images(path, latents(1))).max() < CLOSE


@pytest.mark.parametrize("kind", ["one_hot", "one_hot_map"])
def test_one_hot_labels_of_many_classes_take_the_memory_of_those_that_are_drawn(kind: str):
    classes, point = 10_000, (1, 1) if kind == "one_hot_map" else ()
    latent, label = Port("z", TensorProto.FLOAT, ("n", Z)), Port("y", TensorProto.FLOAT, ("n", classes, *point))
    signature = Signature(latent, Z, "flat", label, kind, classes, latent)
    ids = np.array([0, 9_999, 5])
    tracemalloc.start()
    given = signature.feed(np.zeros((3, Z), np.float32), ids)["y"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * given.nbytes
    assert (given.shape, given.dtype) == ((3, classes, *point), np.float32)
    assert (given.reshape(3, -1).argmax(axis=1) == ids).all()
    assert given.sum() == 3
