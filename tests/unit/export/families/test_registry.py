"""Which families weights could be of: what is inferred, what does not fit, what is said and what is asked."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gan_export.families import FAMILIES, explain, find_family, fitting, nearest
from gan_export.refusal import IntakeError

State = dict[str, Tensor]
MakeStateFn = Callable[..., State]

EXAMPLES = {"pytorch-examples/dcgan", "pytorch-gan-collections/dcgan"}
CONV, LABELLED_CONV = {"pytorch-gan/dcgan", "pytorch-gan/dragan"}, {"pytorch-gan/acgan", "pytorch-gan/sgan"}
MLP, CGAN = {"pytorch-gan/gan", "pytorch-gan/wgan", "pytorch-gan/wgan_gp"}, {"pytorch-gan/cgan"}
MIMICRY = {"mimicry/sngan-32", "mimicry/dcgan-32", "mimicry/dcgan-cifar"}


@pytest.mark.parametrize(
    ("kind", "sizes", "families", "inferred"),
    [
        ("pytorch-examples", {}, EXAMPLES, {"nz": 7, "ngf": 4, "nc": 3}),
        ("pytorch-examples", {"nz": 100, "g": 8, "nc": 1}, EXAMPLES, {"nz": 100, "ngf": 8, "nc": 1}),
        (
            "pytorch-examples",
            {"kernel": 3},
            {"pytorch-gan-collections/dcgan"},
            {"nz": 7, "ngf": 4, "nc": 3, "kernel": 3},
        ),
        ("pytorch-gan-conv", {}, CONV, {"latent_dim": 6, "img_size": 16, "channels": 1}),
        (
            "pytorch-gan-conv",
            {"size": 28, "z": 3, "channels": 3},
            CONV,
            {"latent_dim": 3, "img_size": 28, "channels": 3},
        ),
        (
            "pytorch-gan-conv",
            {"classes": 10, "size": 8},
            LABELLED_CONV,
            {"latent_dim": 6, "img_size": 8, "channels": 1, "n_classes": 10},
        ),
        ("pytorch-gan-mlp", {}, MLP, {"latent_dim": 9, "values": 75}),
        ("pytorch-gan-mlp", {"z": 62, "values": 784}, MLP, {"latent_dim": 62, "values": 784}),
        ("pytorch-gan-mlp", {"classes": 4}, CGAN, {"latent_dim": 9, "values": 75, "n_classes": 4}),
        ("mimicry", {}, MIMICRY, {"nz": 5, "ngf": 6}),
        ("mimicry", {"z": 128, "g": 16}, MIMICRY, {"nz": 128, "ngf": 16}),
        ("studiogan", {}, {"studiogan/deep_conv"}, {"z_dim": 8}),
        ("studiogan", {"z": 100}, {"studiogan/deep_conv"}, {"z_dim": 100}),
        (
            "torchgan",
            {},
            {"torchgan/dcgan"},
            {"encoding_dims": 7, "out_size": 32, "out_channels": 3, "step_channels": 4},
        ),
        (
            "torchgan",
            {"layers": 4, "step": 2, "channels": 1, "z": 20},
            {"torchgan/dcgan"},
            {"encoding_dims": 20, "out_size": 64, "out_channels": 1, "step_channels": 2},
        ),
        (
            "torchgan",
            {"classes": 5, "emb": 5},
            {"torchgan/cgan"},
            {"encoding_dims": 7, "out_size": 32, "out_channels": 3, "step_channels": 4, "num_classes": 5},
        ),
        (
            "torchgan",
            {"classes": 5, "emb": 7, "layers": 2},
            {"torchgan/acgan"},
            {"encoding_dims": 7, "out_size": 16, "out_channels": 3, "step_channels": 4, "num_classes": 5},
        ),
    ],
)
def test_what_keys_and_shapes_tell(kind, sizes, families, inferred, make_state: MakeStateFn):
    fits = fitting(make_state(kind, **sizes))
    assert {fit.family for fit in fits} == families
    for fit in fits:
        assert fit.inferred | inferred == fit.inferred
        assert fit.caveat.startswith(
            f"Keys and shapes of the weights are those of {fit.family}; that they were trained"
        )


def weights_of(state: State) -> list[str]:
    return [key for key in state if not key.endswith("num_batches_tracked")]


@pytest.mark.parametrize("kind", ["pytorch-examples", "pytorch-gan-conv", "pytorch-gan-mlp", "mimicry", "torchgan"])
def test_a_key_less_or_more_does_not_fit(kind: str, make_state: MakeStateFn):
    state = make_state(kind)
    assert len(weights_of(state)) > 5
    for key in weights_of(state):
        assert fitting({other: state[other] for other in state if other != key}) == [], f"without {key}"
    assert fitting(state | {"extra.weight": torch.zeros(3)}) == []
    assert fitting({}) == []


@pytest.mark.parametrize("kind", ["pytorch-examples", "pytorch-gan-conv", "pytorch-gan-mlp", "torchgan"])
def test_other_shapes_do_not_fit(kind: str, make_state: MakeStateFn):
    state = make_state(kind)
    for key in weights_of(state):
        value = state[key]
        longer = torch.cat([value, value[..., :1]], dim=-1) if value.ndim == 4 else torch.cat([value, value[:1]])
        assert fitting(state | {key: longer}) == [], f"{key} {tuple(longer.shape)}"
        assert fitting(state | {key: value[None]}) == [], f"{key} with a dimension more"
        assert fitting(state | {key: value[:0]}) == [], f"{key} empty"


def test_counters_of_batches_may_be_missing(make_state: MakeStateFn):
    state = make_state("pytorch-examples")
    bare = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert {fit.family for fit in fitting(bare)} == EXAMPLES
    z = torch.ones(1, 7)
    family = find_family("pytorch-examples/dcgan")
    assert torch.equal(family.build(bare, {}).module(z), family.build(state, {}).module(z))


def test_a_generator_that_was_saved_inside_something(make_state: MakeStateFn):
    inside = {f"gan.generator.{key}": value for key, value in make_state("torchgan").items()}
    (fit,) = fitting(inside)
    assert fit.family == "torchgan/dcgan"
    built = find_family(fit.family).build(inside, {})
    assert built.module(torch.zeros(2, 7)).shape == (2, 3, 32, 32)


def test_images_that_no_artifact_can_hold_do_not_fit(make_state: MakeStateFn):
    state = make_state("pytorch-gan-conv", channels=4)
    assert fitting(state) == []
    with pytest.raises(IntakeError, match=r"images have 4 channels; only 1 .* and 3 "):
        find_family("pytorch-gan/dcgan").build(state, {})


def test_the_explanation_names_what_would_differ(make_state: MakeStateFn):
    lines = explain(fitting(make_state("pytorch-gan-conv", classes=3))).splitlines()
    assert lines == [
        "pytorch-gan/acgan: z 6, label 0..2 -> 1x16x16; the label's embedding times z, nearest upsampling, "
        "BatchNorm eps 0.8, LeakyReLU 0.2, tanh",
        "pytorch-gan/sgan: z 6 -> 1x16x16; a label embedding that is never used, nearest upsampling, "
        "BatchNorm eps 0.8, LeakyReLU 0.2, tanh",
        "--init eps=VALUE: 0.8 (the default, what BatchNorm(c, 0.8) sets in this repository) or 1e-05 (PyTorch's own) "
        "if the 0.8 was made a momentum; each BatchNorm divides by sqrt(variance + eps), so contrast and colours are "
        "wrong under the other",
        "keys and shapes fit all of these, and the images would differ: give --family NAME",
    ]


def test_families_with_the_same_function_are_one_line(make_state: MakeStateFn):
    first, shape, _, last = explain(fitting(make_state("pytorch-gan-mlp", values=784))).splitlines()
    assert first.startswith(
        "pytorch-gan/gan or pytorch-gan/wgan or pytorch-gan/wgan_gp (the same generator): z 9 -> an"
    )
    assert shape.startswith("--image-shape C,H,W: any with a product of 784; 1,28,28 is the square one")
    assert last == "keys and shapes fit, which is not proof: give --family NAME to confirm it"
    mimicry = explain(fitting(make_state("mimicry"))).splitlines()
    assert mimicry[0].startswith("mimicry/sngan-32 or mimicry/dcgan-32 (the same generator): z 5 -> 3x32x32;")
    assert mimicry[1].endswith("sigmoid")
    assert mimicry[2].endswith("give --family NAME")


def test_what_fits_nothing_is_told_what_comes_nearest(make_state: MakeStateFn):
    state = make_state("pytorch-examples")
    del state["main.1.running_var"], state["main.4.running_mean"]
    text = nearest(state)
    assert text.startswith(
        "the nearest known family is pytorch-examples/dcgan, but 'main.1.running_var' and 1 more are "
    )
    assert "BatchNorm's statistics" in text
    del state["main.12.weight"]
    assert "pytorch-examples/dcgan, but 'main.12.weight' is missing" in nearest(state)
    assert nearest({"a\nb": torch.zeros(2, 2)}).startswith(r"no known family has keys like 'a\nb'")
    assert nearest(make_state("mimicry")) == "mimicry/sngan-32 fits"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {},
            "pytorch-gan/gan: the weights don't determine its image_shape; give --image-shape C,H,W: any with a",
        ),
        ({"image_shape": "1,5,5"}, "image_shape='1,5,5': makes 25 values, not 75; give --image-shape"),
        ({"image_shape": "5,5,3"}, "image_shape='5,5,3': must be channels .1 or 3: alpha is not supported., height"),
        ({"image_shape": "3,-5,-5"}, "must be channels .1 or 3"),
        ({"image_shape": "3,5,5,1"}, "must be channels .1 or 3"),
        ({"image_shape": "3,5,5", "eps": "0"}, "eps='0': must be a number above 0 and up to 1; give --init eps=VALUE"),
        ({"image_shape": "3,5,5", "eps": "nan"}, "eps='nan': must be a number above 0 and up to 1"),
        ({"image_shape": "3,5,5", "eps": "x\ny"}, r"eps='x\\ny': must be a number above 0 and up to 1"),
        ({"slope": "0.1"}, "pytorch-gan/gan has no setting 'slope'; there are: image_shape, eps, latent_dim, values"),
        (
            {"image_shape": "3,5,5", "latent_dim": "64"},
            "latent_dim='64' was given, but the weights have latent_dim=9",
        ),
    ],
)
def test_answers_that_are_missing_or_wrong(answers: dict[str, str], message: str, make_state: MakeStateFn):
    with pytest.raises(IntakeError, match=message) as refusal:
        find_family("pytorch-gan/gan").build(make_state("pytorch-gan-mlp"), answers)
    assert "\n" not in str(refusal.value)


def test_what_was_inferred_may_be_repeated(make_state: MakeStateFn):
    answers = {"latent_dim": "6", "classes": "3", "image_shape": "1, 16, 16", "n_classes": "3"}
    built = find_family("pytorch-gan/acgan").build(make_state("pytorch-gan-conv", classes=3), answers)
    assert (built.latent_dim, built.classes, built.channels, built.height, built.width) == (6, 3, 1, 16, 16)
    assert built.hyperparameters == {"latent_dim": 6, "img_size": 16, "channels": 1, "n_classes": 3, "eps": 0.8}
    assert built.distribution == "normal"


def test_an_image_need_not_be_square(make_state: MakeStateFn):
    state = make_state("pytorch-gan-mlp", values=60)
    answers = {"image_shape": "3,4,5"}
    built = find_family("pytorch-gan/wgan").build(state, answers)
    assert built.module(torch.zeros(2, 9)).shape == (2, 3, 4, 5)
    assert built.hyperparameters["image_shape"] == [3, 4, 5]
    (question, _) = fitting(state)[0].questions
    assert "no square image has that many values" in str(question)


def test_weights_of_another_family_are_refused_with_the_reason(make_state: MakeStateFn):
    with pytest.raises(
        IntakeError, match=r"not those of a mimicry/sngan-32 generator: 'l1.weight' is missing; leave out --family"
    ):
        find_family("mimicry/sngan-32").build(make_state("studiogan"), {})


def test_the_names():
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert [find_family(name).name for name in names] == names
    with pytest.raises(
        IntakeError, match=r"'stylegan': no such family; known families: pytorch-examples/dcgan, .*acgan$"
    ):
        find_family("stylegan")


def test_huge_sizes_take_no_memory():
    weights = torch.empty(2**24, 1, device="meta")
    keys = {"l1.weight": torch.empty(16, 2**20, device="meta"), "c5.weight": weights.view(1, 2**20, 4, 4)}
    assert fitting(keys) == []
    assert "not 2 dimensions of 1 to 16777216" in nearest(keys | {"l1.weight": torch.empty(1, 2**40, device="meta")})
