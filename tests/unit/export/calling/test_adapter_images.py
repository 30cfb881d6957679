"""How the images of a module lie, of which type and on which range they are, and what must be told."""

import pytest
import torch
from author_modules import (
    PIXELS,
    SIZE,
    AsDataclass,
    AsDict,
    AsList,
    AsTuple,
    Cast,
    Grey,
    Last,
    Net,
    Row,
    Shaped,
    Z,
    called,
)

from gan_export.calling.adapter import Adapted, Convention, measure_range
from gan_export.refusal import IntakeError


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
