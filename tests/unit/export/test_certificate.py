"""The certificate of a good generator: sensible numbers, and the cases that it is about."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import planted
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gan_export.artifact import Artifact, Manifest, open_session, run_session
from gan_export.artifact import probe as probing
from gan_export.artifact.candidate import run_candidate
from gan_export.artifact.cases import CERTIFIED_BATCHES as BATCHES
from gan_export.artifact.cases import Cases, make_cases
from gan_export.artifact.certificate import TOLERANCE, Certificate, Options
from gan_export.artifact.evidence import Evidence, Reference, errors_of
from gan_export.artifact.gates import RULES, judge, rules_of
from gan_export.artifact.pixels import to_uint8
from gan_export.artifact.providers import Provider
from gan_export.package.export import Exported, export
from gan_export.reference import EagerRunner
from gan_export.refusal import ExportError
from gan_export.sources.source import Source
from gan_training.specs import GeneratorSpec

pytestmark = pytest.mark.slow

FLOAT32_ERROR = 1e-5  # of a small net's pixels against float64
LEAST_PSNR = 90.0  # dB, of float32 against float64
SPEC = GeneratorSpec(image_size=16, channels=1, latent_dim=8, classes=3)

MakeSourceFn = Callable[..., Source]
SnapshotFn = Callable[[Path], dict[str, str]]
CopyFn = Callable[..., Path]

CODES = tuple(rule.code for rule in RULES)


class ChildInTrainMode(nn.Module):
    """(N, 8) and (N,) -> (N, 1, 16, 16), put into eval mode but for its BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(3, 4)
        self.project = nn.Linear(12, 512)
        self.norm = nn.BatchNorm2d(8)
        self.to_image = nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1)
        nn.init.constant_(self.norm.running_mean, 0.3)
        self.eval()
        self.norm.train()

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        h = self.project(torch.cat([z, self.embed(label)], 1)).unflatten(1, (8, 8, 8))
        return torch.tanh(3 * self.to_image(torch.relu(self.norm(h))))


def cases_of(manifest: Manifest) -> Cases:
    return make_cases(manifest.latent, manifest.classes)


def test_a_failed_export_leaves_everything_as_it_was(
    faces: Exported, copy_of: CopyFn, snapshot: SnapshotFn, make_source: MakeSourceFn, tmp_path: Path
):
    existing = copy_of(faces.artifact)
    before = snapshot(tmp_path)
    with pytest.raises(ExportError, match="labels_matter"):
        export(make_source(SPEC, planted.LabelIgnored()), "faces", existing, force=True)
    assert snapshot(tmp_path) == before


def test_a_child_left_in_train_mode_is_put_into_eval_mode(make_source: MakeSourceFn, tmp_path: Path):
    reference = ChildInTrainMode().eval()
    exported = export(make_source(SPEC, ChildInTrainMode()), "m", tmp_path / "m")
    z, label = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), torch.arange(5) % 3
    _, pixels = run_session(open_session(exported.artifact), z.numpy(), label.numpy(), pixels=True)
    with torch.no_grad():
        assert np.abs(pixels - reference(z, label).numpy()).max() <= TOLERANCE


@pytest.mark.parametrize(("fixture", "classes"), [("faces", 3), ("clouds", 0)])
def test_a_good_generator_has_a_sensible_certificate(fixture: str, classes: int, request: pytest.FixtureRequest):
    exported: Exported = request.getfixturevalue(fixture)
    (result,) = exported.certificate.results
    gates = tuple(gate.code for gate in result.gates)
    assert gates == (CODES if classes else CODES[:-1])
    assert all(gate.passed and gate.measured <= gate.limit for gate in result.gates)
    assert result.batches == list(BATCHES) == [1, 2, 3, 7, 64]
    assert len(result.seeds) >= 3
    assert result.images == sum(len(case.z) for case in cases_of(exported.artifact.manifest).values())
    for errors in (result.against_float64, result.float32_against_float64):
        assert 0 < errors.mean_abs < errors.p999_abs < errors.max_abs < FLOAT32_ERROR
        assert errors.psnr_db is not None
        assert errors.psnr_db > LEAST_PSNR
    assert result.against_float32.mean_abs <= result.against_float32.max_abs < FLOAT32_ERROR
    assert 0 <= result.uint8_differing_share < 1e-3
    assert result.uint8_max_difference <= 1
    speeds = exported.artifact.manifest.variants[0].images_per_second
    assert set(speeds) == {"1", "64"}
    assert min(speeds.values()) > 1


def test_the_cases_cover_what_design_asks_for(faces: Exported, clouds: Exported):
    for exported in (faces, clouds):
        manifest = exported.artifact.manifest
        cases = cases_of(manifest)
        assert set(BATCHES) <= {len(case.z) for case in cases.values()}
        assert all((case.label is not None) == bool(manifest.classes) for case in cases.values())
        if manifest.classes:
            seen = {int(label) for case in cases.values() if case.label is not None for label in case.label}
            assert seen == set(range(manifest.classes))
        extreme = 4.0 if manifest.latent.distribution == "normal" else 1.0
        assert set(np.unique(np.abs(cases["tails"].z))) == {extreme}
        assert not cases["zeros"].z.any()
        if manifest.latent.distribution == "uniform":
            assert all(np.abs(case.z).max() <= 1 for case in cases.values())


def test_the_measured_error_is_the_true_one(
    faces: Exported, make_net: Callable[[GeneratorSpec], nn.Module], faces_spec: GeneratorSpec
):
    """Measured again here, on the certificate's own cases, in this process and with PyTorch called directly."""
    session, reference = open_session(faces.artifact), EagerRunner(make_net(faces_spec)).draw
    worst = 0.0
    for case in cases_of(faces.artifact.manifest).values():
        _, pixels = run_session(session, case.z, case.label, pixels=True)
        worst = max(worst, float(np.abs(pixels.astype(np.float64) - reference(case.z, case.label)).max()))
    assert worst == pytest.approx(faces.certificate.results[0].against_float32.max_abs, rel=0.01)


def test_errors_of():
    values = np.linspace(-1, 1, 1000)
    assert errors_of([np.zeros(1000)], 1000).model_dump() == {
        "max_abs": 0.0,
        "mean_abs": 0.0,
        "p999_abs": 0.0,
        "psnr_db": None,
    }
    shifted = errors_of([np.full(1000, 0.02)], 1000)
    assert [shifted.max_abs, shifted.mean_abs, shifted.p999_abs] == pytest.approx([0.02] * 3)
    assert shifted.psnr_db == pytest.approx(40.0)  # the range is 2: 20 log10(2 / 0.02)
    spike = values.copy()
    spike[0] += 1
    assert errors_of([np.abs(spike - values)], 1000).max_abs == 1
    assert errors_of([np.abs(spike - values)], 1000).mean_abs == pytest.approx(1e-3)


def test_the_folder_of_an_artifact(faces: Exported, clouds: Exported):
    for exported, (columns, rows) in ((faces, (8, 3)), (clouds, (8, 8))):
        folder, manifest = exported.artifact.directory, exported.artifact.manifest
        files = {file.name for file in folder.iterdir()}
        assert files == {
            "README.md",
            "certificate.json",
            "generator.onnx",
            "golden.npz",
            "manifest.json",
            "preview.png",
        }
        assert folder.stat().st_mode & 0o777 == 0o755
        stored = Certificate.model_validate_json((folder / "certificate.json").read_text())
        assert stored == exported.certificate
        assert json.loads((folder / "manifest.json").read_text())["name"] == manifest.name
        size = manifest.image.height + 2
        with Image.open(folder / "preview.png") as preview:
            assert preview.size == (columns * size + 2, rows * size + 2)
            assert preview.mode == manifest.image.mode
            assert np.asarray(preview)[3:-3, 3:-3].std() > 10  # not blank
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert f"# {manifest.name}\n" in card
        assert ("cat, Dürer, 7" in card) == (manifest.name == "faces")
        assert all(f"| {gate.code} |" in card for gate in stored.results[0].gates)


def test_one_image_that_is_another_is_found_among_hundreds_that_are_near(faces: Exported):
    manifest = faces.artifact.manifest
    cases = cases_of(manifest)
    results, _ = run_candidate(faces.artifact.directory, "fp32", cases)
    reference = Reference({name: results[name].pixels for name, case in cases.items() if case.compared})
    drawn = {name: result.pixels.copy() for name, result in results.items()}
    alone = next(name for name, case in cases.items() if case.compared and len(case.z) == 64 and not case.copy_of)
    drawn[alone][40] -= np.float32(0.25) * np.sign(drawn[alone][40])  # 18 dB; 2 % of all would be too much for `psnr`
    moved = {name: replace(result, pixels=drawn[name], image=to_uint8(drawn[name])) for name, result in results.items()}
    kinds = ("psnr", "visible", "worst_image")
    rules = [rule for rule in rules_of("int8") if rule.code in kinds]
    for found, passed in ((results, [True] * 3), (moved, [True, True, False])):
        gates = judge(Evidence(manifest, cases, found, reference, "int8"), Options(), rules)
        assert [gate.code for gate in gates] == list(kinds)
        assert [gate.passed for gate in gates] == passed
    assert gates[-1].measured == pytest.approx(0.25, abs=1e-4)
    assert f"18.1 dB, in {alone}" in gates[-1].complaint()
    assert "\n" not in gates[-1].complaint()


def test_an_image_that_depends_on_the_number_of_threads_is_found(faces: Exported, monkeypatch, tmp_path: Path):
    """One pixel of what one thread drew differs in its last bit."""
    opened: list[int] = []

    def open_some(artifact: Artifact, variant: str, *, threads: int = 0, provider: Provider):
        opened.append(threads)
        return open_session(artifact, variant, threads=threads, provider=provider)

    manifest, directory = faces.artifact.manifest, faces.artifact.directory
    cases = cases_of(manifest)
    with_one = {name for name, case in cases.items() if case.threads == 1}
    assert len(with_one) == 2
    given = {f"{name}.z": case.z for name, case in cases.items()}
    given |= {f"{name}.label": case.label for name, case in cases.items() if case.label is not None}
    np.savez(tmp_path / "cases.npz", **given, **{f"{name}.threads": np.array(1) for name in with_one})
    monkeypatch.setattr(probing, "open_session", open_some)
    probing.probe(directory, "fp32", tmp_path / "cases.npz", tmp_path)
    assert opened == [0, 1]

    results, _ = run_candidate(directory, "fp32", cases)
    reference = Reference({name: results[name].pixels for name, case in cases.items() if case.compared})
    whole = Evidence(manifest, cases, results, reference, "fp32")
    assert [gate.code for gate in judge(whole, Options()) if gate.failed] == []
    drawn = results["one_thread32"]
    pixels = drawn.pixels.copy()
    pixels[31, 0, 5, 7] = np.nextafter(pixels[31, 0, 5, 7], np.float32(2))
    moved = Evidence(manifest, cases, results | {"one_thread32": replace(drawn, pixels=pixels)}, reference, "fp32")
    (failed,) = [gate for gate in judge(moved, Options()) if gate.failed]
    assert failed.code == "batch_invariant"
    assert "one_thread32" in failed.complaint()
    assert "number of threads" in failed.what
