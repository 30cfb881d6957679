"""What was measured on a host can be put into the artifact's certificate, which stays sealed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gan_export.artifact import Artifact, ArtifactError, load_artifact
from gan_export.artifact.certificate import Certificate
from gan_export.artifact.providers import CUDA
from gan_export.artifact.reading import read_certificate
from gan_export.artifact.verify import add_results, verify
from gan_export.cli.verify import main
from gan_export.package.export import Exported

pytestmark = pytest.mark.slow


def test_results_are_added_and_those_of_the_same_provider_replaced(
    faces: Exported, copy_of: Callable[[Artifact], Path]
):
    folder = copy_of(faces.artifact)
    before = read_certificate(faces.artifact)
    found, _ = verify(folder)
    (here,) = found.results
    elsewhere = here.model_copy(update={"provider": CUDA.title})
    again = elsewhere.model_copy(update={"images": here.images + 1})
    mode = (folder / "certificate.json").stat().st_mode

    add_results(folder, found.model_copy(update={"results": [elsewhere]}))
    assert read_certificate(load_artifact(folder)).results == [*before.results, elsewhere]
    add_results(folder, found.model_copy(update={"results": [again]}))
    after = read_certificate(load_artifact(folder))  # which refuses one that is not sealed
    assert after.results == [*before.results, again]
    assert after.reference == before.reference
    assert (folder / "certificate.json").stat().st_mode == mode
    assert [path.name for path in folder.glob(".certificate*")] == []


def test_a_damaged_artifact_is_not_certified(faces: Exported, copy_of: Callable[[Artifact], Path]):
    folder = copy_of(faces.artifact)
    found, _ = verify(folder)
    told = json.loads((folder / "certificate.json").read_text())
    told["results"][0]["images"] += 1
    (folder / "certificate.json").write_text(json.dumps(told))
    with pytest.raises(ArtifactError, match="was changed after its export"):
        add_results(folder, found)


def test_nothing_is_added_to_an_artifact_that_was_replaced_in_the_meantime(
    faces: Exported, clouds: Exported, copy_of: Callable[[Artifact], Path], snapshot: Callable[[Path], dict[str, str]]
):
    """Another generator, or the same one in another file."""
    folder = copy_of(faces.artifact)
    found, _ = verify(folder)
    (here,) = found.results
    elsewhere = found.model_copy(update={"results": [here.model_copy(update={"provider": CUDA.title})]})

    def refused(measured: Certificate) -> None:
        before = snapshot(folder)
        with pytest.raises(ArtifactError, match="is not the artifact that was measured") as caught:
            add_results(folder, measured)
        assert (caught.value.code, "\n" in str(caught.value)) == ("identity", False)
        assert snapshot(folder) == before

    refused(elsewhere.model_copy(update={"manifest_identity": "0" * 64}))
    refused(elsewhere.model_copy(update={"variants_sha256": "0" * 64}))
    for file in clouds.artifact.directory.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    refused(elsewhere)


def test_an_export_s_own_result_is_not_replaced_by_one_of_fewer_images(
    faces: Exported, copy_of: Callable[[Artifact], Path], capsys: pytest.CaptureFixture[str]
):
    folder = copy_of(faces.artifact)
    found, _ = verify(folder)
    (exported,) = read_certificate(faces.artifact).results
    assert found.results[0].compared < exported.compared  # the golden images alone
    assert add_results(folder, found) == []
    with pytest.raises(SystemExit):
        main([str(folder), "--add"])
    assert f"{folder}: verified on this host; its certificate already has stronger results" in capsys.readouterr().out
    assert read_certificate(load_artifact(folder)).results == [exported]


def test_nothing_is_added_that_was_measured_with_a_larger_tolerance(
    faces: Exported, copy_of: Callable[[Artifact], Path]
):
    folder = copy_of(faces.artifact)
    before = (folder / "certificate.json").read_bytes()
    with pytest.raises(ArtifactError, match=r"a tolerance of 2, more than the 0\.0001 of its certificate"):
        add_results(folder, verify(folder, 2.0)[0])
    assert (folder / "certificate.json").read_bytes() == before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_stops_half_way_leaves_the_certificate_and_no_file(
    error: BaseException, faces: Exported, copy_of: Callable[[Artifact], Path], monkeypatch: pytest.MonkeyPatch
):
    folder = copy_of(faces.artifact)
    found, _ = verify(folder)
    found = found.model_copy(update={"results": [found.results[0].model_copy(update={"provider": CUDA.title})]})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def stop(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", stop)
        with pytest.raises((ArtifactError, KeyboardInterrupt)):
            add_results(folder, found)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_command_adds_what_passed(
    faces: Exported, copy_of: Callable[[Artifact], Path], capsys: pytest.CaptureFixture[str]
):
    folder = copy_of(faces.artifact)
    stored = read_certificate(load_artifact(folder))
    other = stored.results[0].model_copy(update={"provider": "elsewhere"})
    (folder / "certificate.json").write_text(stored.model_copy(update={"results": [other]}).to_json())
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--add"])
    assert ended.value.code in (0, None)
    assert f"{folder}: verified on this host; added to its certificate" in capsys.readouterr().out
    kept, added = read_certificate(load_artifact(folder)).results
    assert kept == other
    assert added.compared < stored.results[0].compared  # the golden images alone


def test_a_failure_is_not_added(faces: Exported, copy_of: Callable[[Artifact], Path]):
    folder = copy_of(faces.artifact)
    before = (folder / "certificate.json").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--add", "--tolerance", "1e-9"])
    assert ended.value.code == 1
    assert (folder / "certificate.json").read_bytes() == before
