"""What was measured on a host can be put into the artifact's certificate, which stays sealed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gan_export.artifact import Artifact, ArtifactError, load_artifact
from gan_export.artifact.providers import CUDA
from gan_export.artifact.reading import read_certificate
from gan_export.artifact.verify import add_results, verify
from gan_export.package import Exported
from gan_export.verify_cli import main

pytestmark = pytest.mark.slow


def test_results_are_added_and_those_of_the_same_provider_replaced(
    faces: Exported, copy_of: Callable[[Artifact], Path]
):
    folder = copy_of(faces.artifact)
    before = read_certificate(faces.artifact)
    found, _ = verify(folder)
    (here,) = found.results
    elsewhere = here.model_copy(update={"provider": CUDA.title})
    mode = (folder / "certificate.json").stat().st_mode

    add_results(folder, found.model_copy(update={"results": [elsewhere]}))
    assert read_certificate(load_artifact(folder)).results == [*before.results, elsewhere]
    add_results(folder, found)
    after = read_certificate(load_artifact(folder))  # which refuses one that is not sealed
    assert after.results == [elsewhere, here]
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


def test_the_command_adds_what_passed(
    faces: Exported, copy_of: Callable[[Artifact], Path], capsys: pytest.CaptureFixture[str]
):
    folder = copy_of(faces.artifact)
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--add"])
    assert ended.value.code in (0, None)
    assert f"{folder}: verified on this host; its certificate says so" in capsys.readouterr().out
    (result,) = read_certificate(load_artifact(folder)).results
    assert result.compared < read_certificate(faces.artifact).results[0].compared  # the golden images alone


def test_a_failure_is_not_added(faces: Exported, copy_of: Callable[[Artifact], Path]):
    folder = copy_of(faces.artifact)
    before = (folder / "certificate.json").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--add", "--tolerance", "1e-9"])
    assert ended.value.code == 1
    assert (folder / "certificate.json").read_bytes() == before
