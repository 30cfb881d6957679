"""gan-verify on another host's behalf: a good artifact passes, whatever was done to one is named by its code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tampering import (
    add_variant,
    better_figures,
    change,
    drop_rounding,
    edit_json,
    edit_variant,
    flip,
    flip_byte,
    look_at_the_batch,
    mirror_image,
    nan_weight,
    other_eps,
    other_golden,
    rename_variant,
    scale_a_weight,
    seal_certificate,
    swap_graph,
    wider_tolerance,
)

from gan_export.artifact import ArtifactError, load_artifact, open_session
from gan_export.artifact.candidate import CertificationError
from gan_export.artifact.certificate import Certificate, Options
from gan_export.artifact.verify import check_session, verify
from gan_export.cli.verify import main
from gan_export.package.export import Exported

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).with_name("gan-verify")

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


def give_text(graph: onnx.ModelProto) -> None:
    """The output `image` becomes text."""
    for node in graph.graph.node:
        node.output[:] = ["numbers" if name == "image" else name for name in node.output]
    graph.graph.node.append(helper.make_node("Cast", ["numbers"], ["image"], to=TensorProto.STRING))
    graph.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING


def test_a_graph_that_gives_text_is_refused_even_if_its_certificate_lets_all_through(copied: Path):
    change(copied, give_text)
    seal_certificate(copied, options=Options(allowed=("dynamic_batch", "shape", "dtype", "finite")))
    found, message = complaint(copied)
    assert (found, "it gives text or other objects, not numbers" in message) == ("dynamic_batch", True), message


def test_what_a_certificate_says_is_not_taken_for_markup(copied: Path, capsys: pytest.CaptureFixture[str]):
    seal_certificate(copied, reference="[/x] [red]")
    with pytest.raises(SystemExit) as ended:
        main([str(copied)])
    assert ended.value.code == 0
    assert "stored at export ([/x] [red])" in capsys.readouterr().out


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
