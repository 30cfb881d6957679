"""What gan-export and gan-verify advise, and that the advice is true: noise, serving, variants left out, names."""

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_export.artifact import Artifact, ArtifactError, load_artifact
from gan_export.artifact import probe as probing
from gan_export.artifact.candidate import Speeds
from gan_export.artifact.certificate import Gate, Options, VariantCertificate
from gan_export.artifact.verify import verify
from gan_export.cli.report import serving_command, show_export
from gan_export.package.export import Exported, export
from gan_export.package.target import lost_variants
from gan_export.package.variants import Made, unsteady
from gan_export.refusal import ExportError, IntakeError
from gan_export.show import sentence
from gan_export.sources.options import names_of
from gan_export.sources.source import Source
from gan_serving.sources import parse_sources
from gan_training.specs import GeneratorSpec

pytestmark = pytest.mark.slow

MakeSourceFn = Callable[..., Source]
SPEC = GeneratorSpec(image_size=16, channels=1, latent_dim=4, width=2)


class Noisy(nn.Module):
    """Adds noise to a net's images, as StyleGAN does to its feature maps."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> Tensor:
        images = self.net(z)
        return (0.8 * images + 0.1 * torch.randn_like(images)).clamp(-1, 1)


@pytest.mark.parametrize("failing", ["deterministic", "batch_invariant", "tolerance"])
def test_noise_is_named_by_every_gate_that_it_fails(failing, make_source: MakeSourceFn, make_net, tmp_path: Path):
    codes = ("deterministic", "batch_invariant", "tolerance")
    options = Options(allowed=codes[: codes.index(failing)])
    with pytest.raises(ExportError) as caught:
        export(make_source(SPEC, Noisy(make_net(SPEC))), "m", tmp_path / "m", options=options, portable=True)
    assert caught.value.code == failing
    told = str(caught.value)
    assert "switch it off (`--init` or `--forward`; see docs/bring-your-own.md, Noise inside the module)" in told
    for untrue in ("not batch invariant", "batch statistics", "rounding", "larger --tolerance", "as latents"):
        assert untrue not in told


def test_the_guide_has_the_heading_that_the_advice_names():
    guide = Path(__file__).parents[3] / "docs" / "bring-your-own.md"
    assert "\n### Noise inside the module\n" in guide.read_text(encoding="utf-8")


def test_the_command_that_serves_it_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "x").mkdir(parents=True)
    service = "bentoml serve gan_serving.service:GanService"
    assert serving_command(Path("models/x")) == f"GAN_MODELS=models/x {service}"  # no checkout
    Path("serving").mkdir()
    Path("serving/bento.py").touch()
    assert serving_command(Path("models/x")) == serving_command(tmp_path / "models" / "x") == "bentoml serve"
    for folder in ("../u3/models/style", "models/old/x", "two words/it's"):
        assignment, *rest = shlex.split(serving_command(Path(folder)))
        assert (assignment, " ".join(rest)) == (f"GAN_MODELS={folder}", service)


def test_it_names_one_that_a_service_would_find(faces: Exported):
    assignment = shlex.split(serving_command(faces.artifact.directory))[0]
    (source,) = parse_sources(assignment.partition("=")[2])
    assert source.artifacts() == [faces.artifact.directory]


def test_class_names_are_in_nfc():
    decomposed, composed = "Ba\u0308r", "B\u00e4r"
    assert names_of(2, (decomposed, "x")) == names_of(2, None, (decomposed, "x")) == [composed, "x"]
    with pytest.raises(IntakeError, match=f"must differ from each other: '{composed}'"):
        names_of(2, (decomposed, composed))


def gate(code: str, measured: float) -> Gate:
    return Gate(code=code, passed=True, measured=measured, limit=1, unit="", what="", advice="")


def test_int8_is_told_by_what_was_judged(faces: Exported):
    (exact,) = faces.certificate.results
    gates = [gate("psnr", 2e-3), gate("visible", 6.92e-5)]
    errors = exact.against_float32.model_copy(update={"max_abs": 0.582})
    update = {"variant": "int8", "gates": gates, "against_float32": errors, "uint8_differing_share": 0.508860}
    told = sentence(exact.model_copy(update=update), "eager PyTorch")
    assert "the PSNR is 60.0 dB, and 0.0069% of the uint8 pixels differ by more than 4" in told
    assert "5.82e-01" not in told
    assert "50.8860%" not in told


@pytest.mark.parametrize(
    ("share", "steps", "told"),
    [
        (0.0, 0, "; none of the uint8 pixels differ"),
        (1e-9, 1, "; less than 0.0001% of the uint8 pixels differ, by 1 at most"),
        (0.5, 3, "; 50.0000% of the uint8 pixels differ, by 3 at most"),
    ],
)
def test_pixels_that_differ_are_told_from_none(faces: Exported, share: float, steps: int, told: str):
    (result,) = faces.certificate.results
    result = result.model_copy(update={"uint8_differing_share": share, "uint8_max_difference": steps})
    assert sentence(result, "eager PyTorch").endswith(told)


def test_what_is_left_out_stands_below_the_table(faces: Exported, capsys: pytest.CaptureFixture[str]):
    notes = ("It is called so.", "int8 is left out: it is not faster: 1.01x.")
    show_export(Exported(faces.artifact, faces.certificate, notes), None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == notes[0]
    assert lines[-2] == notes[1]
    assert lines.count(notes[1]) == 1


def test_variants_that_a_replacement_lacks_are_named():
    (told,) = lost_variants(("fp32", "int8"), ("fp32",))
    assert told.startswith("int8 is left out: the artifact that was replaced had it; --variants fp32,int8 ")
    assert lost_variants(("fp32", "int8"), ("fp32", "int8")) == []  # another sentence says why it is missing
    assert lost_variants((), ("fp32",)) == []


def test_a_replacement_says_what_it_drops(
    make_source: MakeSourceFn, faces: Exported, copy_of: Callable[[Artifact], Path]
):
    out = copy_of(faces.artifact)
    manifest = faces.artifact.manifest
    int8 = manifest.variants[0].model_copy(update={"name": "int8", "file": "generator.int8.onnx"})
    both = manifest.model_copy(update={"variants": [*manifest.variants, int8]})
    (out / "manifest.json").write_text(both.to_json())
    exported = export(make_source(SPEC), "m", out, force=True)
    assert [note for note in exported.notes if note.startswith("int8 is left out: the artifact that was replaced")]
    assert [one.name for one in load_artifact(out).manifest.variants] == ["fp32"]


def test_a_folder_of_artifacts_is_told_from_an_artifact(faces: Exported, copy_of: Callable[[Artifact], Path]):
    out = copy_of(faces.artifact)
    with pytest.raises(ArtifactError, match=f"{out.parent}: is not an artifact, but holds some: give {out}$"):
        verify(out.parent)


def test_rates_are_those_of_the_fastest_of_turns_that_alternate(monkeypatch: pytest.MonkeyPatch):
    """Something else runs during the first turns of batch 64."""
    asked: list[int] = []

    def rate(session: object, z: np.ndarray, label: object) -> float:  # noqa: ARG001
        asked.append(len(z))
        return len(z) * (10.0 if asked.count(64) < 4 else 100.0)

    monkeypatch.setattr(probing, "_images_per_second", rate)
    monkeypatch.setattr(probing, "run_session", lambda *_: None)
    rates = probing._rates(None, np.zeros((1, 4), np.float32), None)  # type: ignore[arg-type]
    assert asked == [1, 64] * (len(asked) // 2)
    assert {batch: max(turns) for batch, turns in rates.items()} == {1: 100.0, 64: 6400.0}


def test_a_batch_that_is_refused_has_no_rate(monkeypatch: pytest.MonkeyPatch):
    def run(session: object, z: np.ndarray, label: object) -> None:  # noqa: ARG001
        if len(z) > 1:
            raise RuntimeError("no")

    monkeypatch.setattr(probing, "run_session", run)
    assert list(probing._rates(None, np.zeros((1, 4), np.float32), None)) == [1]  # type: ignore[arg-type]


def test_speeds_that_vary_are_told(faces: Exported):
    variant, result = faces.artifact.manifest.variants[0], faces.certificate.results[0]
    assert isinstance(result, VariantCertificate)
    busy = Speeds({"1": 100.0, "64": 400.0}, {"1": 90.0, "64": 100.0})
    quiet = Speeds({"1": 100.0, "64": 400.0}, {"1": 90.0, "64": 390.0})
    assert unsteady([Made(variant, result, quiet.spread)]) == []
    (told,) = unsteady([Made(variant, result, busy.spread)])
    assert told.startswith("fp32: its images/s differed by a factor of 4.0 between turns")
