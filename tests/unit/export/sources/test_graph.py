"""ONNX files made elsewhere: found out how they are called, wrapped, certified, and the same images as their own."""

import io
import tracemalloc
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, parser
from torch import Tensor, nn

from gan_export.artifact import draw, open_session, run_session
from gan_export.artifact.certificate import Options
from gan_export.graphs.ports import Port
from gan_export.graphs.probe import examine
from gan_export.graphs.signature import Signature
from gan_export.package.export import export
from gan_export.refusal import ExportError, IntakeError
from gan_export.sources.graph import FAMILY, NO_MODULE, GraphOptions, load_graph

pytestmark = pytest.mark.slow

Z, K, SIZE = 6, 4, 8
CLOSE = 1e-5  # pixels on [-1, 1]
SPREAD = 3.0  # of weights, so that images use both halves of the range


class Net(nn.Module):
    """A small upsampling generator, from the latent's linear map on."""

    def __init__(self, inputs: int = Z, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(inputs, 8 * 16)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.Upsample(scale_factor=2)
        self.conv = nn.Conv2d(8, channels, 3, padding=1)
        self.embedding = nn.Embedding(K, inputs)
        nn.init.normal_(self.conv.weight, 0.0, SPREAD)

    def draw(self, x: Tensor) -> Tensor:
        x = self.norm(self.fc(x).view(-1, 8, 4, 4))  # (N, 8, 4, 4)
        return self.conv(self.up(x))


class Tanh(Net):
    def forward(self, z):
        return torch.tanh(self.draw(z))


class Sigmoid(Net):
    def forward(self, z):
        return torch.sigmoid(self.draw(z))


class ToneMapped(Net):
    def forward(self, z):
        return torch.sigmoid(self.draw(z)) * 255.0


class ByteImages(Net):
    def forward(self, z):
        return (torch.sigmoid(self.draw(z)) * 255.0).to(torch.uint8).permute(0, 2, 3, 1)


class Linear(Net):
    def forward(self, z):
        return torch.tanh(self.fc(z)).reshape(-1, 1, 8, 16)


class LastChannel(Net):
    def forward(self, z):
        return torch.tanh(self.draw(z)).permute(0, 2, 3, 1)


class Grey(Net):
    def __init__(self):
        super().__init__(channels=1)

    def forward(self, z):
        return torch.tanh(self.draw(z)).squeeze(1)


class Flat(Net):
    def forward(self, z):
        return torch.tanh(self.draw(z)).flatten(1)


class LatentMap(Net):
    def forward(self, noise):
        return torch.tanh(self.draw(noise.flatten(1)))


class Ids(Net):
    def forward(self, noise, labels):
        return torch.tanh(self.draw(noise * self.embedding(labels)))


class IdsFirst(Net):
    def forward(self, labels, noise):
        return torch.tanh(self.draw(noise * self.embedding(labels.long()).squeeze(1)))


class OneHot(Net):
    def __init__(self):
        super().__init__(Z + K)

    def forward(self, noise, target):
        return torch.tanh(self.draw(torch.cat([noise, target], 1)))


class OneHotMap(OneHot):
    def forward(self, noise, target):
        return super().forward(noise.flatten(1), target.flatten(1))


class Doubled(Net):
    def forward(self, z):
        images = torch.tanh(self.draw(z))
        return images.mean((1, 2, 3)), images


def write(
    net: nn.Module, path: Path, example: tuple[Tensor, ...], opset: int, modern: bool, fixed: bool = False
) -> Path:
    """As its author would: torch.onnx of either make, in eval mode, under the author's names."""
    names = [f"in_{i}" for i in range(len(example))]
    batch = {0: torch.export.Dim("n")} if modern else {0: "n"}
    axes = (
        {"dynamic_shapes": tuple(batch for _ in example)} if modern else {"dynamic_axes": dict.fromkeys(names, batch)}
    )
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            example,
            str(path),
            dynamo=modern,
            opset_version=opset,
            input_names=names,
            external_data=False,
            **({} if fixed else axes),
        )
    return path


def author_images(path: Path, *feed: np.ndarray, output: int = 0) -> np.ndarray:
    """What the file itself gives, run by its author."""
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, feed, strict=True)))[output]


def pixels_of(model: onnx.ModelProto, z: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
    """What a served graph gives; its uint8 image is the rounded one."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image, pixels = run_session(session, z, label, pixels=True)
    assert (image.dtype, pixels.dtype) == (np.uint8, np.float32)
    assert np.abs(image - (pixels.astype(np.float64) + 1) * 127.5).max() <= 0.501
    return pixels


def served(path: Path, **options: object) -> onnx.ModelProto:
    """What the reading process makes of a file, made here."""
    return examine(path.read_bytes(), GraphOptions(**options))[0]


def latents(count: int = 5) -> np.ndarray:
    return draw(range(100, 100 + count), Z, "normal").latents


LABEL = np.array([3, 0, 1, 2, 3])
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
    assert np.abs(found - pixels_of(source.generator, latents(), label)).max() < CLOSE
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


def test_a_batch_that_is_built_into_a_reshape_is_refused(tmp_path):
    class Fixed(Net):
        def forward(self, z):
            return torch.tanh(self.draw(z)).reshape(1, 3, SIZE, SIZE)

    path = write(Fixed(), tmp_path / "g.onnx", (torch.randn(1, Z),), 17, False, fixed=True)
    with pytest.raises((ExportError, RuntimeError)) as caught:
        export(load_graph(path, GraphOptions()), "g", tmp_path / "g")
    assert caught.value.code == "dynamic_batch"
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


def parsed(text: str, opset: int = 17) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def linear(signature: str, body: str = "x = Identity(z)", weights: str = "") -> onnx.ModelProto:
    """x (n, 6) -> images (n, 1, 4, 4)"""
    model = parsed(
        f"g ({signature}) => (float[n, 1, 4, 4] y) <int64[4] shape = {{-1, 1, 4, 4}}{weights}> "
        f"{{ {body} \n h = MatMul(x, w) \n t = Tanh(h) \n y = Reshape(t, shape) }}"
    )
    rng = np.random.default_rng(0)
    model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=(6, 16)).astype(np.float32), "w"))
    return model


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


def test_a_type_that_the_older_opset_lacks_is_refused(tmp_path, refused):
    model = linear("float[n, 6] z", "s = Shape(z) \n c = ConstantOfShape(s) \n f = Cast <to = 1> (c) \n x = Add(z, f)")
    value = helper.make_tensor("v", TensorProto.FLOAT8E4M3FN, [1], [0])
    model.graph.node[1].attribute.append(helper.make_attribute("value", value))
    model.opset_import[0].version = 20
    refused(saved(model, tmp_path / "g.onnx"), "FLOAT8|float8|type")


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
