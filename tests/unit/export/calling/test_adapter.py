"""How generators want to be called, found out by calling them, and the one signature that all of them get."""

import math
import re
from dataclasses import dataclass, replace

import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_export.calling.adapter import Adapted, Convention, measure_range
from gan_export.calling.convention_search import Asked, find_convention, find_conventions
from gan_export.capture import capture
from gan_export.refusal import IntakeError

Z, K, SIZE = 8, 4, 6
PIXELS = SIZE * SIZE


class Net(nn.Module):
    """Layers that the variants below use."""

    def __init__(self, inputs: int = Z, outputs: int = PIXELS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(inputs, outputs)
        self.embedding = nn.Embedding(K, Z)
        self.up = nn.ConvTranspose2d(inputs, 1, SIZE)

    def draw(self, x: Tensor) -> Tensor:
        return torch.tanh(self.fc(x)).view(-1, 1, SIZE, SIZE)


class Flat(Net):
    def forward(self, z):
        return self.draw(z)


class Map(Net):
    def forward(self, input):
        return torch.tanh(self.up(input))


class Either(Net):
    def forward(self, z):
        return self.draw(z.view(z.size(0), -1))


class Ids(Net):
    def forward(self, noise, labels):
        return self.draw(noise * self.embedding(labels))


class IdsFirst(Net):
    def forward(self, labels, noise):
        return self.draw(noise * self.embedding(labels))


class NamelessIdsFirst(Net):
    def forward(self, a, b):
        return self.draw(b * self.embedding(a))


class OneHot(Net):
    def __init__(self):
        super().__init__(Z + K)

    def forward(self, z, y):
        return self.draw(torch.cat([z, y], 1))


class NamelessOneHot(OneHot):
    def forward(self, a, b):
        return self.draw(torch.cat([a, b], 1))


class OneHotMap(Net):
    def __init__(self):
        super().__init__(Z + K)

    def forward(self, input, label):
        return torch.tanh(self.up(torch.cat([input, label], 1)))


class MixedMap(OneHotMap):
    def forward(self, z, label):
        return torch.tanh(self.up(torch.cat([z[:, :, None, None], label[:, :, None, None]], 1)))


class Keyword(Net):
    def forward(self, z, truncation=1.0, *, class_labels=None):
        return self.draw(z * truncation * self.embedding(class_labels))


class LabelMayBeNone(Net):
    def forward(self, z, c, truncation_psi=1):
        return self.draw(z * truncation_psi if c is None else z * self.embedding(c))


class Truncated(Net):
    def forward(self, z, truncation_psi=1.0):
        return self.draw(z * truncation_psi)


class Deaf(Net):
    def forward(self, z, label):  # noqa: ARG002
        return self.draw(z)


class BothWays(Net):
    """Takes ids as numbers and one-hot labels alike, with different images."""

    def forward(self, z, label):
        hint = label.float() if label.ndim == 2 else F.one_hot(label, K).flip(1).float()
        return self.draw(z + torch.cat([hint, hint * 2], 1))


class Squeezing(Net):
    def forward(self, z):
        return torch.tanh(self.fc(z.squeeze())).view(-1, 1, SIZE, SIZE)


@dataclass
class Sample:
    logits: Tensor
    image: Tensor


class AsDataclass(Flat):
    def forward(self, z):
        return Sample(z, super().forward(z))


class AsTuple(Flat):
    def forward(self, z):
        return z.mean(), [z, super().forward(z)]


class AsDict(Flat):
    def forward(self, z):
        return {"w": z, "sample": super().forward(z)}


class AsList(Net):
    def forward(self, z):
        return [self.draw(z)]


class Grey(Flat):
    def forward(self, z):
        return super().forward(z)[:, 0]


class Row(Net):
    def forward(self, z):
        return torch.tanh(self.fc(z))


class Last(Net):
    def __init__(self):
        super().__init__(Z, 3 * PIXELS)

    def forward(self, z):
        return torch.tanh(self.fc(z)).view(-1, SIZE, SIZE, 3)


class Cast(Net):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, z):
        pixels = self.draw(z)
        return (pixels * 127.5 + 127.5 if self.dtype in (torch.uint8, torch.int64) else pixels).to(self.dtype)


class Shaped(Net):
    def __init__(self, *shape: int) -> None:
        super().__init__(outputs=math.prod(shape))
        self.shape = shape

    def forward(self, z):
        return torch.tanh(self.fc(z)).view(-1, *self.shape)


def called(net: nn.Module, classes: int, **asked: object) -> Convention:
    return find_convention(net.eval(), Z, classes, Asked(**asked))


@pytest.mark.parametrize(
    ("make", "classes", "latent_shape", "label", "order"),
    [
        (Flat, 0, "flat", "none", "latent_first"),
        (Map, 0, "map", "none", "latent_first"),
        (Either, 0, "flat", "none", "latent_first"),
        (Squeezing, 0, "flat", "none", "latent_first"),
        (Truncated, 0, "flat", "none", "latent_first"),
        (LabelMayBeNone, 0, "flat", "null", "latent_first"),
        (LabelMayBeNone, K, "flat", "ids", "latent_first"),
        (Ids, K, "flat", "ids", "latent_first"),
        (IdsFirst, K, "flat", "ids", "label_first"),
        (NamelessIdsFirst, K, "flat", "ids", "label_first"),
        (OneHot, K, "flat", "one_hot", "latent_first"),
        (OneHotMap, K, "map", "one_hot_map", "latent_first"),
        (MixedMap, K, "flat", "one_hot", "latent_first"),
        (Keyword, K, "flat", "ids", "latent_first"),
        (Deaf, K, "flat", "ids", "latent_first"),
    ],
)
def test_the_one_convention_is_found(make, classes: int, latent_shape: str, label: str, order: str):
    net = make()
    found = called(net, classes)
    assert (found.latent_shape, found.label, found.order) == (latent_shape, label, order)
    assert (found.layout, found.image_shape) == ("nchw", (1, SIZE, SIZE))
    adapted = Adapted(net, found).eval()
    z, ids = torch.randn(5, Z), torch.arange(5) % K
    arguments = (z, ids) if classes else (z,)
    assert adapted(*arguments).shape == (5, 1, SIZE, SIZE)
    assert adapted.double()(z.double(), *arguments[1:]).dtype == torch.float64


def test_the_arguments_arrive_where_they_belong():
    """The adapted signature against each module called by hand."""
    z, ids = torch.randn(3, Z), torch.tensor([1, 0, 3])
    hot = F.one_hot(ids, K).float()
    by_hand = [
        (Ids(), lambda net: net(z, ids)),
        (IdsFirst(), lambda net: net(ids, z)),
        (OneHot(), lambda net: net(z, hot)),
        (OneHotMap(), lambda net: net(z[..., None, None], hot[..., None, None])),
        (Keyword(), lambda net: net(z, class_labels=ids)),
    ]
    for net, call in by_hand:
        assert torch.equal(Adapted(net, called(net, K))(z, ids), call(net)), type(net).__name__


@pytest.mark.parametrize(
    ("make", "output", "layout"),
    [
        (AsDataclass, ("image",), "nchw"),
        (AsTuple, (1, 1), "nchw"),
        (AsDict, ("sample",), "nchw"),
        (AsList, (0,), "nchw"),
        (Grey, (), "nhw"),
        (Last, (), "nhwc"),
    ],
)
def test_where_the_image_is_and_how_it_lies(make, output: tuple[int | str, ...], layout: str):
    net = make()
    found = called(net, 0)
    assert (found.output, found.layout) == (output, layout)
    z = torch.randn(2, Z)
    pixels = Adapted(net, found)(z)
    assert pixels.shape == (2, *found.image_shape)
    if layout == "nhwc":
        assert torch.equal(pixels[1, 2], net(z)[1, :, :, 2])


@pytest.mark.parametrize(
    ("dtype", "off"),
    [(torch.float64, 1e-7), (torch.float16, 1e-3), (torch.bfloat16, 1e-2), (torch.uint8, 2 / 255)],
)
def test_pixels_of_another_type_are_brought_to_float32(dtype: torch.dtype, off: float):
    net = Cast(dtype).eval()
    found = called(net, 0)
    assert found.value_range == ((0.0, 255.0) if dtype == torch.uint8 else (-1.0, 1.0))
    z = torch.randn(64, Z)
    pixels = Adapted(net, found)(z)
    assert pixels.dtype == torch.float32
    assert torch.allclose(pixels, net.draw(z), rtol=0, atol=off)
    if dtype != torch.uint8:
        assert measure_range(net, found) == found.value_range
    assert Adapted(net, found).double()(z.double()).dtype == torch.float64


def test_a_type_that_pixels_can_not_have_is_named():
    reason = r"it gives \(N, 1, 6, 6\) of int64: end forward with \.float\(\)\. Tried"
    for asked in ({}, {"image_shape": (1, SIZE, SIZE)}):
        with pytest.raises(IntakeError, match=reason):
            called(Cast(torch.int64), 0, **asked)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((4, 6, 6), r"\(N, 4, 6, 6\); alpha is not supported: end forward with \[:, :3\]\. Tried"),
        ((6, 6, 4), r"\(N, 6, 6, 4\); alpha is not supported: end forward with \[\.\.\., :3\]\. Tried"),
        ((4, 4, 4), r"\(N, 4, 4, 4\); alpha is not supported: end forward with \[:, :3\]\. Tried"),
        ((12, 4, 4), r"not images with 1 or 3 channels: end forward with .* that gives 1 or 3\. Tried"),
        ((2, 6, 6), r"not images with 1 or 3 channels: end forward with .* that gives 1 or 3\. Tried"),
        ((3, 1, 1), r"give --image-shape 3,1,1\. Tried"),
        ((1, 1, 3), r"give --image-shape 1,1,3\. Tried"),
        ((1, 7), r"give --image-shape 1,1,7\. Tried"),
    ],
)
def test_images_of_no_known_shape_and_what_to_do(shape: tuple[int, ...], reason: str):
    with pytest.raises(IntakeError, match=reason):
        called(Shaped(*shape), 0)


@pytest.mark.parametrize(("shape", "said"), [((3, 1, 1), (3, 1, 1)), ((1, 1, 3), (1, 1, 3)), ((1, 7), (1, 1, 7))])
def test_what_is_said_of_thin_images_works(shape: tuple[int, ...], said: tuple[int, int, int]):
    net = Shaped(*shape)
    assert Adapted(net, called(net, 0, image_shape=said))(torch.randn(2, Z)).shape == (2, *said)


def test_alpha_is_told_where_a_shape_was_given():
    with pytest.raises(IntakeError, match=r"not images of --image-shape 3,6,6; alpha is not supported"):
        called(Shaped(4, 6, 6), 0, image_shape=(3, 6, 6))


def test_flat_output_needs_its_shape():
    net = Row()
    with pytest.raises(
        IntakeError, match=rf"gives \(N, {PIXELS}\): say how to read it as an image with --image-shape C,H,W"
    ):
        called(net, 0)
    found = called(net, 0, image_shape=(1, 4, 9))
    z = torch.randn(2, Z)
    assert torch.equal(Adapted(net, found)(z), net(z).view(2, 1, 4, 9))
    with pytest.raises(IntakeError, match="not images of --image-shape 1,5,5"):
        called(net, 0, image_shape=(1, 5, 5))


def test_one_hot_and_ids_that_both_run_must_be_asked_for():
    net = BothWays().eval()
    with pytest.raises(IntakeError, match=r"2 ways .* Choose with: --label-as ids\|one-hot\|none$") as caught:
        called(net, K)
    assert "\n" not in str(caught.value)
    assert [found.label for found in find_conventions(net, Z, K)] == ["ids", "one_hot"]
    assert called(net, K, label="one_hot").label == "one_hot"


def test_an_order_that_nothing_tells_must_be_asked_for():
    net = NamelessOneHot()
    with pytest.raises(IntakeError, match=r"Choose with: --argument-order latent-first\|label-first$"):
        called(net, K)
    assert called(net, K, order="label_first").order == "label_first"


@pytest.mark.parametrize(
    ("make", "classes", "reason"),
    [
        (Flat, K, r"forward\(z\) takes no label: leave out --classes"),
        (Ids, 0, r"forward\(noise, labels\) .* It seems to take labels: give --classes K"),
    ],
)
def test_a_label_too_many_or_too_few(make, classes: int, reason: str):
    with pytest.raises(IntakeError, match=reason):
        called(make(), classes)


def test_nothing_works():
    net = nn.Sequential(nn.Linear(9, 4))
    with pytest.raises(
        IntakeError, match=r"forward\(input\) gives no images with latents \(N, 8\): RuntimeError: "
    ) as caught:
        called(net, 0)
    assert re.search(r"Tried: latents \(N, 8\); latents \(N, 8, 1, 1\)$", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words", "reason"),
    [
        (OneHot, r"latents \(N, 8\) then one-hot labels \(N, 7\)", r"3x15 and 12x36|5x15 and 12x36"),
        (OneHotMap, r"latents \(N, 8, 1, 1\) then one-hot labels \(N, 7, 1, 1\)", "12 channels, but got 15 channels"),
        (MixedMap, r"latents \(N, 8\) then one-hot labels \(N, 7\)", "12 channels, but got 15 channels"),
        (Ids, r"latents \(N, 8\) then labels as ids \(N,\)", "index out of range in self"),
    ],
)
def test_of_a_wrong_number_of_classes_the_attempt_is_told_whose_dimensions_fit(make, words: str, reason: str):
    with pytest.raises(IntakeError, match=rf"gives no images with {words}: .*({reason}).*Check .*--classes"):
        called(make(), 7)


class Scaled(Net):
    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, z):
        return self.low + (self.high - self.low) * torch.sigmoid(3 * self.fc(z)).view(-1, 1, SIZE, SIZE)


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)])
def test_the_range_is_measured(value_range: tuple[float, float]):
    net = Scaled(*value_range).eval()
    assert measure_range(net, called(net, 0)) == value_range


@pytest.mark.parametrize(
    ("low", "high", "named"),
    [
        (0.4, 0.6, r"between 0\.\d+ and 0\.\d+ on 64 images.*give --output-range -1,1 or 0,1"),
        (-0.04, 0.9, "give --output-range -1,1 or 0,1"),
        (0, 90, "give --output-range 0,255"),
        (0, 230, "give --output-range 0,255"),
        (-3, 4, r"between -2\.\d+ and 3\.\d+ on 64 images: images must be on"),
        (-1, 200, "images must be on"),
        (0, 300, "images must be on"),
    ],
)
def test_a_range_that_is_not_certain_is_asked_for(low: float, high: float, named: str):
    net = Scaled(low, high).eval()
    with pytest.raises(IntakeError, match=named):
        measure_range(net, called(net, 0))


def test_a_sigmoid_generator_is_brought_to_the_range_of_pixels():
    net = Scaled(0, 1).eval()
    convention = Convention(Z, 0, "flat", "none", "latent_first", "nchw", (1, SIZE, SIZE), value_range=(0.0, 1.0))
    z = torch.randn(3, Z)
    assert torch.equal(Adapted(net, convention)(z), 2 * net(z) - 1)


def test_words_and_record():
    found = called(OneHotMap(), K)
    assert found.describe() == (
        "latents (N, 8, 1, 1) then one-hot labels (N, 4, 1, 1) -> images (N, 1, 6, 6) on [-1, 1]"
    )
    assert found.to_dict()["label"] == "one_hot_map"
    assert found.to_dict()["image_shape"] == [1, 6, 6]
    assert called(AsTuple(), 0).describe().endswith("at output[1][1]")
    assert called(IdsFirst(), K).describe().startswith("labels as ids (N,) then latents (N, 8)")


@pytest.mark.slow
def test_an_adapted_generator_is_exported():
    """One-hot maps and a sigmoid's range in the graph, against the module called by hand."""
    net = OneHotMap().eval()
    convention = replace(called(net, K), value_range=(0.0, 1.0))
    model = capture(Adapted(net, convention).eval(), Z, K)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for n in (1, 5):
        z, ids = torch.randn(n, Z), torch.arange(n) % K
        with torch.no_grad():
            wanted = 2 * net(z[..., None, None], F.one_hot(ids, K)[..., None, None].float()) - 1
        (pixels,) = session.run(["pixels"], {"z": z.numpy(), "label": ids.numpy()})
        assert abs(pixels - wanted.numpy()).max() < 1e-5
