"""Whatever makes other bytes makes another tag."""

import importlib.metadata
import importlib.util
import json
import zlib
from typing import Any

import numpy as np
import PIL
import pytest

from gan_client.types import GenerateRequest
from gan_export.artifact import Manifest
from gan_serving.endpoints import etag
from gan_serving.requests.plan import make_plan, parse_request

BASE = {"seed": 5, "n": 2, "label": 1, "format": "jpeg"}
LATENTS = [[0.5, 0.5, 0.5], [1.5, 1.5, 1.5]]
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "n": (BASE, BASE | {"n": 3}),
    "seed": (BASE, BASE | {"seed": 6}),
    "seeds": ({"seeds": [5, 6]}, {"seeds": [5, 7]}),
    "label": (BASE, BASE | {"label": 2}),
    "latents": ({"latents": LATENTS, "label": 1}, {"latents": [LATENTS[0], [1.5, 1.5, 2.5]], "label": 1}),
    "truncation": (BASE | {"truncation": 0.5}, BASE | {"truncation": 0.6}),
    "format": (BASE, BASE | {"format": "png"}),
    "columns": (BASE | {"columns": 1}, BASE | {"columns": 2}),
    "quality": (BASE | {"quality": 80}, BASE | {"quality": 81}),
}
"""Field of a request -> two requests that differ in it and have other bytes."""
DEFAULTS = ("truncation", "columns", "quality")


@pytest.fixture(scope="module")
def digits(make_manifest) -> Manifest:
    return make_manifest([str(i) for i in range(10)])


def tag_of(body: dict[str, Any], manifest: Manifest, digest: str = "an artifact", module: Any = etag) -> str | None:
    asked = parse_request(json.dumps(body).encode(), 100)
    return module.etag_of(digest, make_plan(asked, manifest, 100), asked, asked.format or "json")


def test_no_field_of_a_request_is_forgotten_here():
    assert set(OTHERS) == set(GenerateRequest.model_fields) - {"model"}  # of which the artifact's digest tells


@pytest.mark.parametrize("field", OTHERS)
def test_each_field_makes_another_tag(digits: Manifest, field: str):
    one, other = (tag_of(body, digits) for body in OTHERS[field])
    assert one is not None
    assert other not in (None, one)
    assert tag_of(OTHERS[field][0], digits) == one, "the same request has the same tag"


@pytest.mark.parametrize("field", DEFAULTS)
def test_a_field_that_is_left_out_is_not_any_value_of_it(digits: Manifest, field: str):
    assert tag_of(BASE, digits) not in {tag_of(body, digits) for body in OTHERS[field]}


def test_another_artifact_or_format_makes_another_tag(digits: Manifest):
    accepted = {key: value for key, value in BASE.items() if key != "format"}
    assert len({tag_of(body, digits, digest) for body in (BASE, accepted) for digest in ("one", "another")}) == 4


def test_images_that_are_left_to_chance_have_no_tag(digits: Manifest):
    assert tag_of({"n": 2, "label": 1}, digits) is None


@pytest.mark.parametrize("library", ["scipy", "numpy", "PIL", "zlib"])
def test_another_version_of_what_makes_the_bytes_makes_another_tag(
    digits: Manifest, library: str, monkeypatch: pytest.MonkeyPatch
):
    version = importlib.metadata.version
    match library:
        case "numpy":
            monkeypatch.setattr(np, "__version__", "0.0")
        case "PIL":
            monkeypatch.setattr(PIL, "__version__", "0.0")
        case "zlib":
            monkeypatch.setattr(zlib, "ZLIB_RUNTIME_VERSION", "0.0")
        case _:
            monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0" if name == library else version(name))
    spec = importlib.util.find_spec(etag.__name__)
    assert spec is not None
    assert spec.loader is not None
    upgraded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(upgraded)
    assert tag_of(BASE, digits, module=upgraded) != tag_of(BASE, digits)
