"""Specs: all that rebuilds a net, as plain values; impossible ones are refused."""

import json

import pytest

from gan_training.specs import SUPPORTED_SIZES, CriticSpec, GeneratorSpec, SpecError, halvings

GENERATOR = {"image_size": 28, "channels": 1}
CRITIC = {"image_size": 28, "channels": 1}


@pytest.mark.parametrize(
    "spec",
    [
        GeneratorSpec(28, 1),
        GeneratorSpec(
            64, 3, latent_dim=9, latent="uniform", classes=24, embed_dim=5, width=7, max_width=11, upsample="nearest"
        ),
        GeneratorSpec(32, 3, slope=0.1, norm_eps=1e-3, norm_momentum=0.01),
        GeneratorSpec(28, 1, mapping_layers=3, mapping_width=96),
        GeneratorSpec(28, 1, ceiling=6.0),
        CriticSpec(28, 1),
        CriticSpec(64, 3, classes=24, label_head="auxiliary", width=7, max_width=11, norm="spectral", slope=0.3),
        CriticSpec(32, 1, classes=2, label_head="concat", norm="batch", norm_eps=1e-3, norm_momentum=0.01),
    ],
)
def test_a_spec_survives_json(spec):
    assert type(spec).from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (GeneratorSpec, GENERATOR | {"image_size": 30}, "image size 30 is not supported; use one of 16, 20, 24, 28"),
        (GeneratorSpec, GENERATOR | {"image_size": 0}, "image size 0"),
        (GeneratorSpec, GENERATOR | {"channels": 2}, "channels is 2; use 1"),
        (GeneratorSpec, GENERATOR | {"classes": -1}, "classes is -1"),
        (GeneratorSpec, GENERATOR | {"latent_dim": 0}, "latent_dim is 0"),
        (GeneratorSpec, GENERATOR | {"width": 1.5}, "width is 1.5"),
        (GeneratorSpec, GENERATOR | {"embed_dim": -3}, "embed_dim is -3"),
        (GeneratorSpec, GENERATOR | {"max_width": "64"}, "max_width is '64'"),
        (GeneratorSpec, GENERATOR | {"latent": "cauchy"}, "latent is 'cauchy'; use one of normal, uniform"),
        (GeneratorSpec, GENERATOR | {"upsample": "bilinear"}, "upsample is 'bilinear'; use one of transpose, nearest"),
        (GeneratorSpec, GENERATOR | {"mapping_layers": -1}, "mapping_layers is -1; use a whole number, 0 for no such"),
        (GeneratorSpec, GENERATOR | {"ceiling": -1.0}, "ceiling is -1.0; use a number above 0, or 0 for none"),
        (GeneratorSpec, GENERATOR | {"ceiling": float("nan")}, "ceiling is nan"),
        (GeneratorSpec, GENERATOR | {"ceiling": 6, "slope": 0.2}, "a ceiling is for ReLU, slope 0"),
        (GeneratorSpec, GENERATOR | {"mapping_width": 0}, "mapping_width is 0; use a whole number of at least 1"),
        (CriticSpec, CRITIC | {"image_size": 36}, "image size 36"),
        (CriticSpec, CRITIC | {"hidden": -1}, "hidden is -1; use a whole number, 0 for no such layer"),
        (CriticSpec, CRITIC | {"norm": "layer"}, "norm is 'layer'; use one of batch, none, spectral"),
        (CriticSpec, CRITIC | {"label_head": "film"}, "label_head is 'film'"),
        (CriticSpec, CRITIC | {"classes": 3}, "label_head 'none' does not fit 3 classes"),
        (CriticSpec, CRITIC | {"label_head": "projection"}, "label_head 'projection' does not fit 0 classes"),
    ],
)
def test_impossible_values_are_refused_by_name(kind, values, words):
    with pytest.raises(SpecError) as caught:
        kind(**values)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["missing", "unknown"])
@pytest.mark.parametrize("spec", [GeneratorSpec(28, 1), CriticSpec(28, 1)])
def test_a_dict_with_other_fields_is_no_spec(spec, change):
    values = spec.to_dict()
    if change == "missing":
        del values["slope"]
    else:
        values["attention"] = True
    with pytest.raises(SpecError, match="has the fields"):
        type(spec).from_dict(values)


def test_specs_of_older_checkpoints_lack_what_was_added_since():
    values = GeneratorSpec(28, 1).to_dict()
    for name in GeneratorSpec.ADDED:
        del values[name]
    assert GeneratorSpec.from_dict(values) == GeneratorSpec(28, 1)


def test_supported_sizes_double_from_an_edge_of_4_to_7():
    assert {16, 28, 32, 64, 128} <= set(SUPPORTED_SIZES)
    for size in SUPPORTED_SIZES:
        base, doublings = halvings(size)
        assert 4 <= base <= 7
        assert doublings >= 2
        assert base * 2**doublings == size
