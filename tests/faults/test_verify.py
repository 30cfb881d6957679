"""gan-verify on another host's behalf: a good artifact passes, whatever was done to one is named by its code."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from gan_export.artifact import ArtifactError, load_artifact, open_session
from gan_export.artifact.candidate import CertificationError
from gan_export.artifact.certificate import Certificate, Options
from gan_export.artifact.verify import check_session, verify
from gan_export.capture import seal
from gan_export.cli.verify import main
from gan_export.package.export import Exported

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).with_name("gan-verify")


def change(directory: Path, edit: Callable[[onnx.ModelProto], object]) -> None:
    """Somebody who knows how artifacts are sealed changes the graph: digests and identities are right again."""
    manifest = load_artifact(directory).manifest
    graph = onnx.load(directory / "generator.onnx")
    edit(graph)
    content = seal(graph, manifest.identity())
    (directory / "generator.onnx").write_bytes(content)
    edit_json(directory / "manifest.json", lambda m: m["variants"][0].update(sha256=digest_of(content)))
    seal_certificate(directory)


def seal_certificate(directory: Path, **changed: object) -> None:
    """Changes fields of the certificate; its digests are right again."""
    path = directory / "certificate.json"
    stored = Certificate.model_validate_json(path.read_text())
    variants = load_artifact(directory).manifest.variants_digest()
    path.write_text(stored.model_copy(update={"variants_sha256": variants} | changed).to_json())


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def edit_json(path: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def flip(variant: dict, key: str) -> None:
    variant[key] = not variant[key]


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def scale_a_weight(graph: onnx.ModelProto) -> None:
    weight = max(graph.graph.initializer, key=lambda tensor: numpy_helper.to_array(tensor).size)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))


def nan_weight(graph: onnx.ModelProto) -> None:
    weight = max(graph.graph.initializer, key=lambda tensor: numpy_helper.to_array(tensor).size)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32("nan"), weight.name))


def drop_rounding(graph: onnx.ModelProto) -> None:
    (node,) = (node for node in graph.graph.node if node.op_type == "Round")
    for other in graph.graph.node:
        other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]
    graph.graph.node.remove(node)


def other_eps(graph: onnx.ModelProto) -> None:
    (node,) = (node for node in graph.graph.node if node.op_type == "BatchNormalization")
    (epsilon,) = (attribute for attribute in node.attribute if attribute.name == "epsilon")
    epsilon.f = 0.1


def look_at_the_batch(graph: onnx.ModelProto) -> None:
    """Pixels depend on those of the whole batch, by less than the tolerance."""
    (tanh,) = (node for node in graph.graph.node if node.op_type == "Tanh")
    given, made = tanh.input[0], ["mean_of_batch", "part_of_it", "moved"]
    graph.graph.initializer.append(numpy_helper.from_array(np.float32(1e-5), "little"))
    nodes = [
        onnx.helper.make_node("ReduceMean", [given], made[:1], axes=[0]),
        onnx.helper.make_node("Mul", [made[0], "little"], made[1:2]),
        onnx.helper.make_node("Add", [given, made[1]], made[2:]),
    ]
    tanh.input[0] = made[2]
    place = list(graph.graph.node).index(tanh)
    for node in reversed(nodes):
        graph.graph.node.insert(place, node)


def mirror_image(graph: onnx.ModelProto) -> None:
    """The uint8 image alone, as by swapped colours: the float pixels are the right ones."""
    (cast,) = (node for node in graph.graph.node if "image" in node.output)
    cast.output[0] = "before"
    numbers = {"from": -1, "to": -(10**6), "dim": 3, "step": -1}
    graph.graph.initializer.extend(numpy_helper.from_array(np.array([n]), name) for name, n in numbers.items())
    graph.graph.node.append(onnx.helper.make_node("Slice", ["before", *numbers], ["image"]))


def better_figures(directory: Path) -> None:
    edit_json(directory / "certificate.json", lambda c: c["results"][0]["against_float32"].update(max_abs=1e-9))


def wider_tolerance(directory: Path) -> None:
    edit_json(directory / "certificate.json", lambda c: c["options"].update(tolerance=1.0))


def swap_graph(directory: Path) -> None:
    """A graph that was sealed for another manifest, with its digest in this one."""
    graph = onnx.load(directory / "generator.onnx")
    content = seal(graph, "0" * 64)
    (directory / "generator.onnx").write_bytes(content)
    edit_json(directory / "manifest.json", lambda m: m["variants"][0].update(sha256=digest_of(content)))


def other_golden(directory: Path) -> None:
    """Golden images of another generator, with the digest in the manifest put right: the graph's own seal tells."""
    with np.load(directory / "golden.npz") as stored:
        arrays = dict(stored)
    arrays["pixels"] = -arrays["pixels"]
    np.savez(directory / "golden.npz", **arrays)
    sha256 = digest_of((directory / "golden.npz").read_bytes())
    edit_json(directory / "manifest.json", lambda m: m["golden"].update(sha256=sha256))


def rename_variant(directory: Path) -> None:
    edit_json(directory / "manifest.json", lambda m: m["variants"][0].update(name="exact"))


def add_variant(directory: Path) -> None:
    """The exact graph under the name of another variant, which nobody certified."""
    edit_json(directory / "manifest.json", lambda m: m["variants"].append(m["variants"][0] | {"name": "int8"}))


def edit_variant(**changed: object) -> Callable[[Path], object]:
    """Edits the first of the manifest's variants."""
    return lambda d: edit_json(d / "manifest.json", lambda m: m["variants"][0].update(changed))


TAMPERED: list[tuple[str, str, Callable[[Path], object]]] = [
    ("one byte of the graph", "digest", lambda d: flip_byte(d / "generator.onnx")),
    ("one byte of the golden images", "digest", lambda d: flip_byte(d / "golden.npz")),
    ("no graph", "digest", lambda d: (d / "generator.onnx").unlink()),
    ("no golden images", "digest", lambda d: (d / "golden.npz").unlink()),
    ("no certificate", "certificate", lambda d: (d / "certificate.json").unlink()),
    ("a certificate of nothing", "certificate", lambda d: (d / "certificate.json").write_text("{}")),
    (
        "another's certificate",
        "identity",
        lambda d: edit_json(d / "certificate.json", lambda c: c.update(manifest_identity="0" * 64)),
    ),
    ("a certificate with better figures", "certificate", better_figures),
    ("a certificate with a wider tolerance", "certificate", wider_tolerance),
    ("no manifest", "manifest", lambda d: (d / "manifest.json").unlink()),
    ("a manifest with a field too many", "manifest", lambda d: edit_json(d / "manifest.json", lambda m: m.update(x=1))),
    ("a variant of another name", "manifest", rename_variant),
    ("a variant too many", "manifest", add_variant),
    (
        "the same variant twice",
        "manifest",
        lambda d: edit_json(d / "manifest.json", lambda m: m["variants"].append(m["variants"][0])),
    ),
    ("a rate that is no number", "manifest", edit_variant(images_per_second={"1": float("nan")})),
    ("a rate without end", "manifest", edit_variant(images_per_second={"1": float("inf")})),
    ("a rate below zero", "manifest", edit_variant(images_per_second={"1": -5})),
    ("no rate at all", "manifest", edit_variant(images_per_second={"1": 0})),
    (
        "another word on the processor",
        "identity",
        lambda d: edit_json(d / "manifest.json", lambda m: flip(m["variants"][0], "byte_products")),
    ),
    ("another word on the rewrites", "identity", edit_variant(rewrites=[{"name": "none"}])),
    ("other class names", "identity", lambda d: edit_json(d / "manifest.json", lambda m: m["class_names"].reverse())),
    ("other golden images", "identity", other_golden),
    ("another's graph, digest corrected", "identity", swap_graph),
    ("another weight, sealed again", "tolerance", lambda d: change(d, scale_a_weight)),
    ("another eps, sealed again", "tolerance", lambda d: change(d, other_eps)),
    ("a NaN weight, sealed again", "finite", lambda d: change(d, nan_weight)),
    ("a mirrored image, sealed again", "uint8_rounding", lambda d: change(d, mirror_image)),
    ("no rounding, sealed again", "uint8_rounding", lambda d: change(d, drop_rounding)),
]


def complaint(directory: Path) -> tuple[str, str]:
    """Code and message of what gan-verify finds."""
    try:
        found, _ = verify(directory)
    except (ArtifactError, CertificationError) as error:
        return error.code, str(error)
    ((_, gate),) = found.failures
    return gate.code, gate.complaint()


def load_and_check(directory: Path) -> None:
    """As a service does."""
    artifact = load_artifact(directory)
    check_session(artifact, open_session(artifact))


@pytest.fixture
def copied(good: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good.artifact.directory, tmp_path / "copied"))


def test_a_good_artifact_is_verified_without_torch(good: Exported, tmp_path: Path):
    code = "import sys, gan_export.cli.verify as v; v.main(sys.argv[1:])"
    guard = "import sys; sys.modules['torch'] = sys.modules['onnx'] = None; "
    directory = good.artifact.directory
    done = subprocess.run(
        [sys.executable, "-c", guard + code, str(directory), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["passed"], told["code"], told["message"]) == (True, None, None)
    found = Certificate.model_validate(told["certificate"])
    assert found.results[0].against_float32.max_abs < 1e-5
    assert found.results[0].compared == good.artifact.manifest.golden.images == 15
    assert [gate.code for gate in found.results[0].gates] == [gate.code for gate in good.certificate.results[0].gates]


@pytest.mark.parametrize(("what", "code", "tamper"), TAMPERED, ids=[what for what, _, _ in TAMPERED])
def test_what_was_done_to_an_artifact_is_named(copied: Path, what: str, code: str, tamper):  # noqa: ARG001
    tamper(copied)
    found, message = complaint(copied)
    assert found == code, message
    assert "\n" not in message


@pytest.mark.parametrize(("what", "code", "tamper"), TAMPERED, ids=[what for what, _, _ in TAMPERED])
def test_a_service_would_refuse_it_for_the_same_reason(copied: Path, what: str, code: str, tamper):  # noqa: ARG001
    tamper(copied)
    with pytest.raises(ArtifactError) as caught:
        load_and_check(copied)
    assert caught.value.code == code, caught.value


def test_what_the_manifest_promises_is_not_let_through(copied: Path, capsys: pytest.CaptureFixture[str]):
    """Allowed at export, and it passed there; another host or provider breaks the promise."""
    change(copied, look_at_the_batch)
    seal_certificate(copied, options=Options(allowed=("batch_invariant", "deterministic")))
    assert complaint(copied)[0] == "batch_invariant"
    with pytest.raises(ArtifactError) as caught:
        load_and_check(copied)
    assert caught.value.code == "batch_invariant"
    before = (copied / "certificate.json").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main([str(copied), "--add"])
    assert ended.value.code == 1
    assert "fp32 failed the gate 'batch_invariant'" in capsys.readouterr().err
    assert (copied / "certificate.json").read_bytes() == before


def test_a_certificate_of_before_it_named_the_variants_is_read(copied: Path):
    path = copied / "certificate.json"
    seal_certificate(copied, variants_sha256=None)
    edit_json(path, lambda c: c.pop("variants_sha256"))
    load_and_check(copied)
    found, stored = verify(copied)
    assert (found.failures, stored.variants_sha256) == ([], None)


class Wordless:
    """A session that fails and does not say why, as some of ONNX Runtime's errors do."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self, *_: object) -> list[object]:
        raise self.error


@pytest.mark.parametrize(("error", "said"), [(ValueError(), "ValueError"), (ValueError(" \n"), "ValueError")])
def test_an_error_without_a_message_is_named_by_its_type(good: Exported, error: Exception, said: str):
    with pytest.raises(ArtifactError, match=f": golden: {said};") as caught:
        check_session(good.artifact, Wordless(error))
    assert caught.value.code == "dynamic_batch"


def test_a_graph_that_the_manifest_does_not_name_is_never_run(copied: Path):
    (copied / "generator.int8.onnx").write_bytes(b"anything")
    load_and_check(copied)
    found, _ = verify(copied)
    assert [result.variant for result in found.results] == ["fp32"]
    assert not found.failures


def test_the_command_says_which_gate_failed_and_what_to_do(copied: Path):
    change(copied, other_eps)
    done = subprocess.run([COMMAND, copied], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"gan-verify: {copied}: fp32 failed the gate 'tolerance': ")
    assert "another eps" in line
    assert "FAILED" in done.stdout
    assert "not judged" in done.stdout
    told = subprocess.run([COMMAND, copied, "--json"], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert json.loads(told.stdout)["code"] == "tolerance"
    wide = subprocess.run([COMMAND, copied, "--tolerance", "2"], capture_output=True, text=True, check=False)
    assert wide.returncode == 0, wide.stderr


@pytest.mark.parametrize("options", [[], ["--json"], ["--add"]])
def test_where_nothing_was_drawn_nothing_is_verified(copied: Path, options: list[str]):
    """Also where the certificate was renamed with the manifest and sealed again."""
    rename_variant(copied)
    for renamed, words in ((False, "does not list the variant 'fp32'"), (True, "its variant 'exact' is unknown")):
        if renamed:
            stored = Certificate.model_validate_json((copied / "certificate.json").read_text())
            results = [result.model_copy(update={"variant": "exact"}) for result in stored.results]
            seal_certificate(copied, results=results)
        before = (copied / "certificate.json").read_bytes()
        done = subprocess.run([COMMAND, copied, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert words in line
        if "--json" in options:
            told = json.loads(done.stdout)
            assert (told["passed"], told["code"], told["certificate"]) == (False, "manifest", None)
        else:
            assert "verified" not in done.stdout
        assert (copied / "certificate.json").read_bytes() == before


def test_bad_arguments(tmp_path: Path):
    for arguments, code, words in (
        ([tmp_path / "nothing"], 1, "can't be read: No such file"),
        ([tmp_path, "--tolerance", "0"], 2, "--tolerance"),
        ([], 2, "ARTIFACT_DIR"),
    ):
        done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
