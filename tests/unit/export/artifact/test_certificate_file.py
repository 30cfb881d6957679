"""certificate.json: what its seal covers, what it says of gates, and how it is written again."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from toy_artifact import toy_gate, write_artifact

from gan_export.artifact import ArtifactError, load_artifact
from gan_export.artifact.certificate import Certificate, Options
from gan_export.artifact.providers import CUDA, OPENVINO
from gan_export.artifact.reading import read_certificate
from gan_export.artifact.verify import add_results, verify

CODES = ("finite", "tolerance", "labels_matter")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "toy")


@pytest.fixture
def stored(folder: Path) -> Certificate:
    return read_certificate(load_artifact(folder))


@pytest.mark.parametrize("tolerance", [0.0, -1e-4, 2.001, float("nan"), float("inf")])
def test_a_tolerance_that_means_nothing_is_refused(tolerance: float):
    with pytest.raises(ValidationError, match="tolerance"):
        Options(tolerance=tolerance)
    assert Options(tolerance=2.0).tolerance == 2


def test_which_gates_failed_and_which_were_let_through(stored: Certificate):
    (result,) = stored.results
    good, let, bad = (
        result.model_copy(update={"variant": name, "gates": gates})
        for name, gates in (
            ("good", [toy_gate("finite", passed=True)]),
            ("let", [toy_gate("tolerance", passed=False, allowed=True), toy_gate("labels_matter", passed=True)]),
            ("bad", [toy_gate("finite", passed=False), toy_gate("labels_matter", passed=True)]),
        )
    )
    found = stored.model_copy(update={"results": [good, let, bad]})
    assert [(variant, each.code) for variant, each in found.failures] == [("bad", "finite")]
    assert found.passing().results == [good, let]
    assert found.allowed == ["tolerance"]


def replaced(field: str, value: Any) -> Callable[[Certificate], Certificate]:
    return lambda stored: stored.model_copy(update={field: value})


@pytest.mark.parametrize(
    "change",
    [
        replaced("manifest_identity", "1" * 64),
        replaced("reference", "another"),
        replaced("options", Options(tolerance=1.0)),
        replaced("results", []),
        replaced("variants_sha256", "1" * 64),
    ],
    ids=["identity", "reference", "options", "results", "variants"],
)
def test_the_seal_covers_all_the_rest(change: Callable[[Certificate], Certificate], folder: Path, stored: Certificate):
    changed = change(stored.model_copy(update={"variants_sha256": "0" * 64}))
    assert changed.digest() != stored.digest()
    assert changed.digest() != stored.model_copy(update={"variants_sha256": "0" * 64}).digest()
    forged = stored.model_copy(update={"variants_sha256": load_artifact(folder).manifest.variants_digest()}).sealed()
    (folder / "certificate.json").write_text(forged.to_json())
    assert read_certificate(load_artifact(folder)) == forged
    (folder / "certificate.json").write_text(change(forged).model_dump_json())
    with pytest.raises(ArtifactError):
        read_certificate(load_artifact(folder))


def test_a_certificate_of_before_it_named_the_variants_keeps_its_digest(folder: Path, stored: Certificate):
    """Of the JSON that was in its file, which has no such field."""
    content = json.loads((folder / "certificate.json").read_text())
    del content["sha256"], content["variants_sha256"]
    written = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert stored.variants_sha256 is None
    assert stored.digest() == stored.sha256 == hashlib.sha256(written.encode()).hexdigest()


def test_results_are_added_with_the_tolerance_of_the_export_and_none_that_is_larger(folder: Path, stored: Certificate):
    (result,) = stored.results
    digest = load_artifact(folder).manifest.variants_digest()
    elsewhere = result.model_copy(update={"provider": CUDA.title})
    found = stored.model_copy(update={"results": [elsewhere], "variants_sha256": digest})
    larger = found.model_copy(update={"options": Options(tolerance=1.01 * stored.options.tolerance)})
    with pytest.raises(ArtifactError, match=r"more than the 0\.0001 of its certificate: nothing was added"):
        add_results(folder, larger)
    assert read_certificate(load_artifact(folder)) == stored
    (folder / "certificate.json").chmod(0o604)
    assert add_results(folder, found) == [elsewhere]
    assert read_certificate(load_artifact(folder)).results == [result, elsewhere]
    assert (folder / "certificate.json").stat().st_mode & 0o777 == 0o604


def test_nothing_is_verified_where_a_provider_draws_none_of_the_variants(folder: Path, stored: Certificate):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["variants"][0]["name"] = "int8"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (result,) = stored.results
    near = stored.model_copy(update={"results": [result.model_copy(update={"variant": "int8"})]})
    (folder / "certificate.json").write_text(near.to_json())
    with pytest.raises(ArtifactError, match="has no variant that openvino can run; it runs fp32, so nothing") as caught:
        verify(folder, provider=OPENVINO)
    assert caught.value.code == "manifest"
