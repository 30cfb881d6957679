"""Where an artifact may be written, what is replaced, and that a stopped export leaves nothing behind."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from gan_export.artifact import Artifact, ImageSpec, Manifest, load_artifact, open_session, run_session
from gan_export.artifact.candidate import CertificationError, run_candidate
from gan_export.artifact.cases import Case, make_cases
from gan_export.artifact.certificate import Options
from gan_export.artifact.evidence import Reference
from gan_export.artifact.golden import GOLDEN_CASES, excess_of, pack_golden, unpack_golden
from gan_export.package.exact import best_that_passes
from gan_export.package.export import Exported, export
from gan_export.package.target import put
from gan_export.package.variants import Certifier, LeftOutError, Made
from gan_export.refusal import ExportError
from gan_export.sources.source import Source
from gan_export.tuning import RewrittenGraph
from gan_training.specs import GeneratorSpec

pytestmark = pytest.mark.slow

MakeSourceFn = Callable[..., Source]
SnapshotFn = Callable[[Path], dict[str, str]]
CopyFn = Callable[[Artifact], Path]
SPEC = GeneratorSpec(image_size=16, channels=1, latent_dim=4, width=2)


@pytest.fixture
def source(make_source: MakeSourceFn) -> Source:
    return make_source(SPEC)


def refused(source: Source, out: Path, *, force: bool) -> str:
    """Exporting to `out` fails before anything is computed, with one line that names it; returns the line."""
    progress: list[str] = []
    with pytest.raises(ExportError) as caught:
        export(source, "m", out, force=force, progress=progress.append)
    line = str(caught.value)
    assert line.startswith(f"{out}: ")
    assert "\n" not in line
    assert progress == []
    return line


MOMENTS = [
    "drawing with the original generator",
    "tracing the generator",
    "comparing the file with the original generator",
    "drawing the preview",
]


def test_an_existing_artifact_is_replaced_with_force_alone(
    source: Source, faces: Exported, copy_of: CopyFn, snapshot: SnapshotFn, tmp_path: Path
):
    out = copy_of(faces.artifact)
    (out / "generator.onnx").unlink()  # a damaged one can be replaced too
    before = snapshot(tmp_path)
    assert "exists already; give --force" in refused(source, out, force=False)
    assert snapshot(tmp_path) == before
    progress: list[str] = []
    exported = export(source, "other", out, force=True, progress=progress.append)
    assert exported.artifact == load_artifact(out)
    assert exported.artifact.name == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]  # nothing of the old one or of the staging
    assert [text for text in progress if text in MOMENTS] == MOMENTS
    counts = [text for text in progress if text not in MOMENTS]
    assert len(set(counts)) == len(counts) > 3
    assert counts[-1] == "the original generator: 632 of 632"  # in float32, and in float64


def test_an_artifact_that_came_while_this_one_was_made_is_kept_without_force(
    source: Source, faces: Exported, copy_of: CopyFn, snapshot: SnapshotFn, tmp_path: Path
):
    """Two exports to one name at once: the quicker one's work is not lost."""
    came: list[Path] = []

    def come(text: str) -> None:
        if text == MOMENTS[-1]:
            came.append(copy_of(faces.artifact))

    with pytest.raises(ExportError, match=r"faces: exists already; give --force to replace it"):
        export(source, "slower", tmp_path / "faces", progress=come)
    assert snapshot(came[0]) == snapshot(faces.artifact.directory)
    assert list(tmp_path.iterdir()) == came


@pytest.mark.parametrize("out", [".", "new/.."])
def test_a_place_without_a_name_is_refused_before_anything_is_computed(
    source: Source, faces: Exported, copy_of: CopyFn, monkeypatch: pytest.MonkeyPatch, out: str
):
    artifact = copy_of(faces.artifact)
    monkeypatch.chdir(artifact)
    assert refused(source, Path(out), force=True).endswith(f"use --out {artifact}")


def test_a_link_to_an_artifact_is_replaced_and_its_target_kept(
    source: Source, faces: Exported, copy_of: CopyFn, snapshot: SnapshotFn, tmp_path: Path
):
    target, link = copy_of(faces.artifact), tmp_path / "link"
    before = snapshot(target)
    link.symlink_to(target, target_is_directory=True)
    export(source, "m", link, force=True)
    assert not link.is_symlink()
    assert load_artifact(link).name == "m"
    assert snapshot(target) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "link"]


def test_files_that_are_no_part_of_an_artifact_are_not_deleted(
    source: Source, faces: Exported, copy_of: CopyFn, snapshot: SnapshotFn, tmp_path: Path
):
    out = copy_of(faces.artifact)
    (out / "generator.int8.onnx").write_bytes(b"of an earlier export")
    (out / "thesis.txt").write_text("mine")
    before = snapshot(tmp_path)
    told = f"{out}: holds 'thesis.txt', not part of an artifact, which --force would delete: move them elsewhere, or"
    assert refused(source, out, force=True).startswith(told)
    for name in ("a", "b", "c"):
        (out / name).mkdir()
    assert "holds 'a', 'b', 'c' and 1 more, not part of an artifact" in refused(source, out, force=True)
    for name in ("a", "b", "c"):
        (out / name).rmdir()
    assert snapshot(tmp_path) == before

    (out / "thesis.txt").unlink()
    before = snapshot(tmp_path)

    def write(text: str) -> None:
        if text == MOMENTS[-1]:
            (out / "late.txt").write_text("mine")

    with pytest.raises(ExportError, match=r"holds 'late\.txt', not part of an artifact"):
        export(source, "m", out, force=True, progress=write)
    (out / "late.txt").unlink()
    assert snapshot(tmp_path) == before
    assert export(source, "m", out, force=True).artifact.name == "m"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda out: out.write_text("mine"),
        lambda out: out.mkdir(),
        lambda out: (out.mkdir(), (out / "thesis.txt").write_text("mine")),
        lambda out: (out.mkdir(), (out / "manifest.json").write_text('{"name": "a web app", "icons": []}')),
        lambda out: (out.mkdir(), (out / "manifest.json").write_text("")),
        lambda out: (out.mkdir(), (out / "manifest.json").mkdir()),
        lambda out: out.symlink_to("nowhere"),
    ],
    ids=["file", "empty folder", "folder", "another program's manifest", "empty manifest", "folder manifest", "link"],
)
def test_what_is_no_artifact_is_never_touched(source: Source, snapshot: SnapshotFn, tmp_path: Path, make, force):
    out = tmp_path / "out"
    make(out)
    before = snapshot(tmp_path)
    assert "exists and is not an artifact" in refused(source, out, force=force)
    assert snapshot(tmp_path) == before


def test_images_too_large_to_be_verified_are_refused_before_anything_is_computed(
    source: Source, faces: Exported, tmp_path: Path
):
    def of(size: int) -> ImageSpec:
        return ImageSpec(height=size, width=size, channels=3, mode="RGB", value_range=(-1.0, 1.0))

    progress: list[str] = []
    with pytest.raises(
        ExportError, match=r"images of 1673 x 1673 pixels .* take 64\.1 MiB, and 64 MiB are allowed"
    ) as no:
        export(replace(source, image=of(1673)), "m", tmp_path / "m", progress=progress.append)
    assert (progress, list(tmp_path.iterdir()), "\n" in str(no.value)) == ([], [], False)

    golden = faces.artifact.manifest.golden.model_copy(update={"images": 2})
    manifest = faces.artifact.manifest.model_copy(update={"image": of(1671), "golden": golden})
    assert excess_of(manifest.image, manifest.latent) == ""
    cases = {name: Case(np.zeros((1, manifest.latent.dim), np.float32), np.zeros(1, np.int64)) for name in GOLDEN_CASES}
    pixels = {name: np.zeros((1, 3, 1671, 1671), np.float32) for name in GOLDEN_CASES}
    _, stored = unpack_golden(pack_golden(cases, pixels), manifest)
    assert stored.shape == (2, 3, 1671, 1671)


def test_of_many_classes_preview_and_card_show_some(
    make_source: Callable[..., Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gan_export.package.card.MOST_NAMES", 3)
    spec = GeneratorSpec(image_size=16, channels=1, latent_dim=8, classes=150, embed_dim=4, width=4)
    out = tmp_path / "many"
    export(make_source(spec, names=[f"c{i}" for i in range(150)]), "many", out, portable=True)
    with Image.open(out / "preview.png") as preview:
        assert preview.size == (8 * 18 + 2, 100 * 18 + 2)
    assert "| classes | c0, c1, c2 and 147 more |" in (out / "README.md").read_text()


def test_a_parent_that_can_not_be_written(source: Source, tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    for parent in (tmp_path / "file", tmp_path / "link"):
        for deeper in (parent, parent / "deeper"):
            said = refused(source, deeper / "m", force=False)
            assert said == f"{deeper / 'm'}: can't write there: {parent} is not a directory"
    assert "can't write there" in refused(source, Path("/proc/ganworks/m"), force=False)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_export_that_stops_half_way_leaves_everything_as_it_was(
    source: Source, faces: Exported, copy_of: CopyFn, snapshot: SnapshotFn, tmp_path: Path, moment: str, stop
):
    out = copy_of(faces.artifact)
    before = snapshot(tmp_path)

    def interrupt(text: str) -> None:
        if text == moment:
            raise stop

    with pytest.raises((KeyboardInterrupt, ExportError)) as caught:
        export(source, "m", out, force=True, progress=interrupt)
    if caught.type is ExportError:
        assert str(caught.value) == f"{out}: can't write there: No space left on device"
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("step", [1, 2])
def test_an_artifact_that_steps_aside_comes_back_when_its_successor_does_not_come(
    step: int, faces: Exported, copy_of: CopyFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = copy_of(faces.artifact)
    staging = tmp_path / "staging"
    staging.mkdir()
    steps = iter(range(1, 10))
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if next(steps) == step:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            put(staging, out, force=True)
    assert load_artifact(out).name == faces.artifact.name
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, "staging"]


def test_a_variant_that_can_not_be_run_is_left_out_with_a_reason(
    faces: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise CertificationError("the process that draws with it ended")

    monkeypatch.setattr("gan_export.package.variants.certify_variant", fail)
    manifest = faces.artifact.manifest
    graph = RewrittenGraph(onnx.load(faces.artifact.path_of(manifest.variants[0])), [])
    certifier = Certifier(tmp_path, {}, Reference({}), Options())
    with pytest.raises(LeftOutError, match=r"^fp16 is left out: .*the process that draws with it ended\.$"):
        certifier.certify_optional(manifest, "fp16", graph, [])
    assert list(tmp_path.glob("*.onnx")) == []


def test_a_variant_that_fails_when_it_is_run_again_is_left_out(
    faces: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It was certified, and the process that draws the golden images with it ends."""

    def fail(*_: object, **__: object) -> None:
        raise CertificationError("the process that draws with it ended")

    monkeypatch.setattr("gan_export.package.variants.run_candidate", fail)
    manifest = faces.artifact.manifest
    graph = RewrittenGraph(onnx.load(faces.artifact.path_of(manifest.variants[0])), [])
    for name in ("golden.npz", "generator.onnx"):
        (tmp_path / name).write_bytes((faces.artifact.directory / name).read_bytes())
    cases = make_cases(manifest.latent, manifest.classes)
    session = open_session(faces.artifact)
    drawn = {name: run_session(session, case.z, case.label, pixels=True)[1] for name, case in cases.items()}
    before = [Made(manifest.variants[0], faces.certificate.results[0])]
    certifier = Certifier(tmp_path, cases, Reference(drawn), Options())
    with pytest.raises(LeftOutError, match=r"^int8 is left out: .*the process that draws with it ended\.$"):
        certifier.certify_optional(manifest, "int8", graph, before)
    assert not (tmp_path / "generator.int8.onnx").exists()


def test_a_slow_graph_has_time_for_each_of_its_images(faces: Exported, monkeypatch: pytest.MonkeyPatch):
    """The least time is over at once; a thousand classes may take longer than that."""
    manifest = faces.artifact.manifest
    cases = make_cases(manifest.latent, manifest.classes)
    monkeypatch.setattr("gan_export.artifact.candidate.PROBE_SECONDS", 0.001)
    results, _ = run_candidate(faces.artifact.directory, "fp32", cases)
    assert len(results) == len(cases)
    monkeypatch.setattr("gan_export.artifact.candidate.IMAGE_SECONDS", 0)
    with pytest.raises(CertificationError, match=r"did not finish \d+ images within 0\.001 s"):
        run_candidate(faces.artifact.directory, "fp32", cases)


def test_a_gate_that_comes_out_otherwise_each_time_ends_the_export_all_the_same(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Let through in every other look at the file, as of a generator whose noise shows now and then."""
    looks: list[bool] = []

    def flipping(
        certifier: Certifier, manifest: Manifest, graphs: list[RewrittenGraph]
    ) -> tuple[Made, RewrittenGraph, str]:
        assert len(looks) < 5
        made, graph, refused = best_that_passes(certifier, manifest, graphs)
        looks.append(len(looks) % 2 == 0)
        change = {"passed": False, "allowed": True} if looks[-1] else {}
        gates = [gate.model_copy(update=change if gate.code == "deterministic" else {}) for gate in made.result.gates]
        return Made(made.variant, made.result.model_copy(update={"gates": gates})), graph, refused

    monkeypatch.setattr("gan_export.package.exact.best_that_passes", flipping)
    manifest = export(source, "m", tmp_path / "m").artifact.manifest
    assert looks == [True, False]
    assert (manifest.properties.deterministic, manifest.properties.batch_invariant) == (False, True)


def test_the_artifact_package_and_its_runtime_need_no_torch(run_python: Callable[[str], str]):
    code = (
        "import gan_export.artifact, gan_export.artifact.probe, gan_export.artifact.sheet, sys; "
        "gan_export.artifact.runtime.session_options(); print(*sys.modules)"
    )
    modules = set(run_python(code).split())
    assert "onnxruntime" in modules
    assert not {name.partition(".")[0] for name in modules} & {"torch", "onnx", "onnxscript", "bentoml", "gan_training"}


def test_a_file_of_the_current_folder_does_not_stand_in_for_a_library(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("onnxruntime.py", "pydantic.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong file was imported')")
    monkeypatch.chdir(tmp_path)
    assert export(source, "m", Path("m")).artifact.directory == Path("m")
