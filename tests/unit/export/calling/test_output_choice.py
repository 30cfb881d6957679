"""Of what forward returns, the images are found, or asked for; never something else that has their shape."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_export.calling.convention_search import Asked, find_convention
from gan_export.refusal import IntakeError

DIM = 8
N = 4


class Returning(nn.Module):
    """Gives what `made` makes of the images (N, 3, 8, 8)."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made = made
        self.layer = nn.Linear(DIM, 3 * 64)

    def forward(self, z: Tensor) -> Any:
        return self.made(torch.tanh(self.layer(z)).view(-1, 3, 8, 8))


def mask(image: Tensor) -> Tensor:
    return (image[:, :1] > 0).float()


def attention(image: Tensor) -> Tensor:
    return image.flatten(1)[:, :9].view(-1, 3, 3).softmax(2)


@pytest.mark.parametrize(
    ("made", "place"),
    [
        (lambda image: image, ()),
        (lambda image: (image, attention(image)), (0,)),
        (lambda image: (attention(image), image), (1,)),
        (lambda image: [image[:, :, ::4, ::4], image[:, :, ::2, ::2], image], (2,)),
        (lambda image: {"depth": mask(image), "rgb": image}, ("rgb",)),
        (lambda image: {"mask": mask(image).expand_as(image), "image": image}, ("image",)),
        (lambda image: {"background": -image, "more": [{"Fake": image}]}, ("more", 0, "Fake")),
        (lambda image: (image, image), (0,)),
        (lambda image: (image, None, image.flatten(1)), (0,)),
    ],
)
def test_images_are_found_among_other_outputs(made: Any, place: tuple[int | str, ...]) -> None:
    convention = find_convention(Returning(made).eval(), DIM, 0)
    assert convention.output == place
    assert convention.image_shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("made", "names", "shapes"),
    [
        (lambda image: (mask(image), image), ["0", "1"], ["1 x 8 x 8", "3 x 8 x 8"]),
        (lambda image: (image, -image), ["0", "1"], ["3 x 8 x 8", "3 x 8 x 8"]),
        (lambda image: {"a": {"b": image}, "c": -image}, ["a.b", "c"], ["3 x 8 x 8", "3 x 8 x 8"]),
        (lambda image: {"image": image, "img": -image}, ["image", "img"], ["3 x 8 x 8", "3 x 8 x 8"]),
    ],
)
def test_which_of_several_is_asked_for_and_can_be_said(made: Any, names: list[str], shapes: list[str]) -> None:
    module = Returning(made).eval()
    with pytest.raises(IntakeError) as caught:
        find_convention(module, DIM, 0)
    listed = ", ".join(f"{name} ({shape})" for name, shape in zip(names, shapes, strict=True))
    assert str(caught.value).endswith(f"choose one with --output; there are: {listed}")
    for name, shape in zip(names, shapes, strict=True):
        convention = find_convention(module, DIM, 0, Asked(output=name))
        assert ".".join(map(str, convention.output)) == name
        assert " x ".join(map(str, convention.image_shape)) == shape


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda image: (image, mask(image)), r"there are: 0 \(3 x 8 x 8\), 1 \(1 x 8 x 8\)"),
        (lambda image: image, "it gives a single tensor: leave out --output"),
        (lambda image: (image.flatten(1),), "it does not give any"),
    ],
)
def test_an_output_that_is_not_there_is_told_with_those_that_are(made: Any, said: str) -> None:
    with pytest.raises(IntakeError, match=f"--output 'nowhere': forward gives no images there; {said}"):
        find_convention(Returning(made).eval(), DIM, 0, Asked(output="nowhere"))


@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (lambda image: list(image), "(3, 8, 8)"),
        (lambda image: image.unbind(), "(3, 8, 8)"),
        (lambda image: {"images": [each.permute(1, 2, 0) for each in image]}, "(8, 8, 3)"),
        (lambda image: list(image[:, 0]), "(8, 8)"),
    ],
)
def test_a_list_of_single_images_is_told_how_to_become_a_batch(made: Any, shape: str) -> None:
    with pytest.raises(IntakeError) as caught:
        find_convention(Returning(made).eval(), DIM, 0)
    said = f"it gives a list of tensors {shape}, one for each latent: end forward with torch.stack(images). Tried: "
    assert said in str(caught.value)
