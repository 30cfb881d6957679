"""How generators want to be called, found out by calling them, and the one signature that all of them get."""

import re
from dataclasses import replace

import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from author_modules import (
    SIZE,
    AsTuple,
    BothWays,
    Deaf,
    Either,
    Flat,
    Ids,
    IdsFirst,
    K,
    Keyword,
    LabelMayBeNone,
    Map,
    MixedMap,
    NamelessIdsFirst,
    NamelessOneHot,
    OneHot,
    OneHotMap,
    Squeezing,
    Truncated,
    Z,
    called,
)
from torch import nn

from gan_export.calling.adapter import Adapted
from gan_export.calling.convention_search import find_conventions
from gan_export.capture import capture
from gan_export.refusal import IntakeError


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
