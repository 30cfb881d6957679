"""Reading artifacts: whatever was changed after the export is found, and told in one line that names the file."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import set_external_data

from gan_export.artifact import Artifact, ArtifactError, draw, find_artifacts, load_artifact, open_session, run_session
from gan_export.artifact.manifest import IDENTITY_KEY, check_class_names
from gan_export.artifact.reading import read_certificate, read_golden
from gan_export.package.export import Exported

pytestmark = pytest.mark.slow

CopyFn = Callable[[Artifact], Path]
EditFn = Callable[[dict[str, Any]], object]
SEEDS = range(5)


def edit_manifest(directory: Path, edit: EditFn) -> None:
    path = directory / "manifest.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def refused(directory: Path, names: str) -> str:
    """Loading and opening fails with one line that names the file; returns the line."""
    with pytest.raises(ArtifactError) as caught:
        open_session(load_artifact(directory))
    line = str(caught.value)
    assert "\n" not in line
    assert str(directory) in line
    assert names in line
    return line


def test_a_good_artifact_runs(faces: Exported, clouds: Exported):
    for exported, shape, labels in ((faces, (5, 1, 16, 16), np.array([0, 1, 2, 0, 1])), (clouds, (5, 3, 20, 20), None)):
        artifact = load_artifact(exported.artifact.directory)
        assert artifact.manifest == exported.artifact.manifest
        latents = draw(SEEDS, artifact.manifest.latent.dim, artifact.manifest.latent.distribution).latents
        session = open_session(artifact, threads=1)
        image, pixels = run_session(session, latents, labels, pixels=True)
        assert image.shape == pixels.shape == shape
        assert (image.dtype, pixels.dtype) == (np.uint8, np.float32)
        assert np.array_equal(image, np.clip(np.rint((pixels + 1) * np.float32(127.5)), 0, 255).astype(np.uint8))
        assert np.array_equal(run_session(session, latents, labels), image)


@pytest.mark.parametrize("where", [0, 100, -1])
def test_one_changed_byte_is_found(faces: Exported, copy_of: CopyFn, where: int):
    directory = copy_of(faces.artifact)
    content = bytearray((directory / "generator.onnx").read_bytes())
    content[where] ^= 1
    (directory / "generator.onnx").write_bytes(content)
    assert "sha256" in refused(directory, "generator.onnx")


def test_a_missing_or_empty_graph_is_found(faces: Exported, copy_of: CopyFn):
    directory = copy_of(faces.artifact)
    (directory / "generator.onnx").write_bytes(b"")
    assert "sha256" in refused(directory, "generator.onnx")
    (directory / "generator.onnx").unlink()
    assert "can't be read: No such file" in refused(directory, "generator.onnx")


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.update(name="other"),
        lambda m: m["class_names"].__setitem__(0, "dog"),
        lambda m: m["class_names"].reverse(),
        lambda m: m["latent"].update(distribution="uniform"),
        lambda m: (m["latent"].update(dim=9), m["inputs"][0].update(shape=["N", 9]), m.update(directions=None)),
        lambda m: m["image"].update(value_range=[0.0, 1.0]),
        lambda m: m["provenance"].update(weights="raw"),
        lambda m: m["properties"].update(batch_invariant=False),
    ],
)
def test_an_edited_manifest_is_found_by_the_graph(faces: Exported, copy_of: CopyFn, edit: EditFn):
    directory = copy_of(faces.artifact)
    edit_manifest(directory, edit)
    assert load_artifact(directory).manifest != faces.artifact.manifest  # the digest of the file alone says nothing
    line = refused(directory, "generator.onnx")
    assert "manifest" in line
    assert "export again" in line


def test_a_swapped_graph_is_found(faces: Exported, clouds: Exported, copy_of: CopyFn):
    directory = copy_of(faces.artifact)
    other = (clouds.artifact.directory / "generator.onnx").read_bytes()
    (directory / "generator.onnx").write_bytes(other)
    assert "sha256" in refused(directory, "generator.onnx")
    digest = hashlib.sha256(other).hexdigest()
    edit_manifest(directory, lambda m: m["variants"][0].update(sha256=digest))
    assert "was exported with another" in refused(directory, "generator.onnx")


def test_a_graph_with_other_outputs_is_found(faces: Exported, copy_of: CopyFn):
    directory = copy_of(faces.artifact)
    model = onnx.load(directory / "generator.onnx")
    del model.graph.output[1]
    content = model.SerializeToString()
    (directory / "generator.onnx").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit_manifest(directory, lambda m: m["variants"][0].update(sha256=digest))
    assert "its outputs are image, not" in refused(directory, "generator.onnx")


def test_a_file_that_is_no_graph_is_found(faces: Exported, copy_of: CopyFn):
    directory = copy_of(faces.artifact)
    content = b"not a graph\n" * 20
    (directory / "generator.onnx").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit_manifest(directory, lambda m: m["variants"][0].update(sha256=digest))
    assert "ONNX Runtime can't load it" in refused(directory, "generator.onnx")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda m: m.update(schema_version=2), "schema_version"),
        (lambda m: m.update(schema_version="1"), "schema_version"),
        (lambda m: m.pop("latent"), "latent"),
        (lambda m: m.update(extra=1), "extra"),
        (lambda m: m.update({"two\nlines": 1}), "two"),
        (lambda m: m.update(name="../other"), "name"),
        (lambda m: m.update(variants=[]), "variants"),
        (lambda m: m.update(class_names=[]), "class_names is empty"),
        (lambda m: m.update(class_names=None), "inputs must be"),
        (lambda m: m["inputs"].pop(), "inputs must be"),
        (lambda m: m["outputs"].reverse(), "outputs must be"),
        (lambda m: m["latent"].update(sampler="mt19937\n"), "sampler"),
        (lambda m: m["latent"].update(dim=0), "latent.dim"),
        (lambda m: m["latent"].update(dim=10**12), "latent.dim"),
        (lambda m: m["golden"].update(images=10**9), "golden.images"),
        (lambda m: m["image"].update(value_range=[-1.0, float("nan")]), "image.value_range.1"),
        (lambda m: m["inputs"][0].update(shape=["N", 10**12]), "z must be float32 with the shape (N, 8)"),
        (lambda m: m["inputs"][1].update(shape=["N", 1]), "label must be int64 with the shape (N)"),
        (lambda m: m["outputs"][0].update(shape=["N", 1, 10**6, 10**6]), "image must be uint8 with the shape (N, 1, 1"),
        (lambda m: m["outputs"][1].update(dtype="uint8"), "pixels must be float32"),
        (lambda m: m.update(directions=[[1.0]]), "directions must have 8 numbers, as latents do; one has 1"),
        (lambda m: m.update(variants=[m["variants"][0] | {"name": f"v{i}"} for i in range(17)]), "at most 16 items"),
        (lambda m: m["image"].update(channels=3), "mode L does not fit 3 channels"),
        *(
            (lambda m, file=file: m["variants"][0].update(file=file), "variants.0.file")
            for file in (
                "../generator.onnx",
                "/etc/passwd",
                "a/b.onnx",
                "..",
                ".hidden",
                "",
                "generator.onnx\n",
                "a\\b",
            )
        ),
        (lambda m: m["variants"][0].update(sha256="0" * 63), "variants.0.sha256"),
    ],
)
def test_a_manifest_outside_the_schema_is_refused(faces: Exported, copy_of: CopyFn, edit: EditFn, reason: str):
    directory = copy_of(faces.artifact)
    edit_manifest(directory, edit)
    assert reason in refused(directory, "manifest.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"[1, 2]", "the document"),
        (b"[" * 100_000, "Invalid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b" " * (8 * 2**20 + 1), "is larger than"),
        (None, "No such file"),
    ],
)
def test_a_manifest_that_is_none_is_refused(faces: Exported, copy_of: CopyFn, content: bytes | None, reason: str):
    directory = copy_of(faces.artifact)
    (directory / "manifest.json").unlink()
    if content is not None:
        (directory / "manifest.json").write_bytes(content)
    assert reason in refused(directory, "manifest.json")


@pytest.mark.parametrize("name", ["manifest.json", "certificate.json", "golden.npz", "generator.onnx"])
@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_not_a_file_is_not_read(faces: Exported, copy_of: CopyFn, put: Callable[[Path], object], name: str):
    directory = copy_of(faces.artifact)
    (directory / name).unlink()
    put(directory / name)
    with pytest.raises(ArtifactError, match=f"{name}.* can't be read: it is not a file"):
        read_all(directory)


@pytest.mark.parametrize("name", ["certificate.json", "golden.npz"])
def test_what_is_too_large_is_not_read(faces: Exported, copy_of: CopyFn, name: str):
    directory = copy_of(faces.artifact)
    with open(directory / name, "r+b") as file:  # noqa: PTH123
        file.truncate(2**27)
    with pytest.raises(ArtifactError, match=f"{name}: can't be read: it is larger than"):
        read_all(directory)


def read_all(directory: Path) -> None:
    artifact = load_artifact(directory)
    read_certificate(artifact)
    read_golden(artifact)


def test_a_million_class_names_are_checked_in_a_moment():
    names = [f"{i:x}" for i in range(10**6)]
    check_class_names(names)
    with pytest.raises(ValueError, match="'0' stands for two"):
        check_class_names([*names, "0"])


@pytest.mark.parametrize("entry", [b"\x0a\x08location", b"\x8a\x00\x88\x80\x00location"])
def test_weights_in_another_file_are_not_looked_for(faces: Exported, copy_of: CopyFn, entry: bytes):
    """The runtimes would look in the working folder."""
    directory = copy_of(faces.artifact)
    model = onnx.load(directory / "generator.onnx")
    tensor = next(one for one in model.graph.initializer if one.raw_data)
    set_external_data(tensor, "elsewhere.bin")
    tensor.ClearField("raw_data")
    content = model.SerializeToString().replace(b"\x0a\x08location", entry)
    (directory / "generator.onnx").write_bytes(content)
    edit_manifest(directory, lambda m: m["variants"][0].update(sha256=hashlib.sha256(content).hexdigest()))
    with pytest.raises(ArtifactError, match=r"generator\.onnx: stores weights in another file, which is not read"):
        load_artifact(directory)


@pytest.mark.parametrize("field", ["reference", "variant"])
def test_a_certificate_says_nothing_that_is_not_printable(faces: Exported, copy_of: CopyFn, field: str):
    directory = copy_of(faces.artifact)
    path = directory / "certificate.json"
    content = json.loads(path.read_text())
    (content if field == "reference" else content["results"][0])[field] = "\x1b[31mred"
    path.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="is not a certificate that this version can read"):
        read_certificate(load_artifact(directory))


def test_an_unknown_variant_is_named(faces: Exported):
    with pytest.raises(ArtifactError, match="has no variant 'int8'; it has fp32"):
        open_session(faces.artifact, "int8")


def test_the_identity_stands_in_the_graph_and_leaves_the_variants_out(faces: Exported):
    manifest = faces.artifact.manifest
    model = onnx.load(faces.artifact.directory / "generator.onnx")
    assert {prop.key: prop.value for prop in model.metadata_props} == {IDENTITY_KEY: manifest.identity()}
    assert faces.certificate.manifest_identity == manifest.identity()
    faster = manifest.variants[0].model_copy(update={"images_per_second": {"1": 1e9}})
    assert manifest.model_copy(update={"variants": [faster]}).identity() == manifest.identity()
    assert manifest.model_copy(update={"name": "other"}).identity() != manifest.identity()


def test_find_artifacts(tmp_path: Path):
    for name in ("b", "a", ".a.staging", "empty", "deep/inner"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("b", "a", ".a.staging", "deep/inner"):
        (tmp_path / name / "manifest.json").write_text("{}")
    (tmp_path / "file").write_text("")
    (tmp_path / "dir.json" / "manifest.json").mkdir(parents=True)
    assert find_artifacts(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert find_artifacts(tmp_path / "a") == [tmp_path / "a"]
    assert find_artifacts(tmp_path / "deep") == [tmp_path / "deep" / "inner"]
    for nothing in ("empty", "file", "missing"):
        assert find_artifacts(tmp_path / nothing) == []
