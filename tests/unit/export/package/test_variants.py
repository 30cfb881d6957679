"""Variants of an artifact: which graphs are made, what is left out and why, and which of them a service takes."""

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from gan_export.artifact import Artifact, ArtifactError, Manifest, Rewrite, load_artifact, open_session, run_session
from gan_export.artifact.cases import Case
from gan_export.artifact.golden import unpack_golden
from gan_export.artifact.manifest import IDENTITY_KEY
from gan_export.artifact.pixels import psnr_of
from gan_export.artifact.processor import adds_byte_products
from gan_export.artifact.reading import read_certificate
from gan_export.artifact.verify import verify
from gan_export.cli.verify import main as verify_main
from gan_export.package.export import Exported, export
from gan_export.rewrite import batch_norms, reshapes
from gan_export.sources.source import Source
from gan_export.tuning import GAIN, RewrittenGraph
from gan_serving.models.generator import Generator as Served
from gan_serving.models.generator import make_generator
from gan_serving.models.loading import examine
from gan_serving.models.variants import variants_to_try
from gan_serving.settings import Settings
from gan_training.nets import Generator
from gan_training.specs import GeneratorSpec

pytestmark = pytest.mark.slow

SPEC = GeneratorSpec(image_size=28, channels=1, latent_dim=16)  # gan-train's default
SMALL = GeneratorSpec(image_size=16, channels=1, latent_dim=8, width=4)
LAYERS = ["blocks.0", "to_image.0"]
BOTH = ("fp32", "int8")
SIMPLIFIED = ["reshapes", "batch_norms", "rounding"]

MakeSourceFn = Callable[..., Source]


def trained_like() -> Generator:
    """With weights and BatchNorm statistics in which int8 keeps its gates; the same each time."""
    torch.manual_seed(0)
    net = Generator(SPEC)
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0, 0.05)
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        net.train()(torch.randn(64, SPEC.latent_dim))
    return net.eval()


@pytest.fixture(scope="module")
def both(make_source: MakeSourceFn, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """With int8, whether or not it pays on this processor; its rates say that it is twice as fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_export.package.variants.PAYS", 0)
        folder = tmp_path_factory.mktemp("both") / "both"
        exported = export(make_source(SPEC, trained_like()), "both", folder, variants=BOTH)
    exact, near = exported.artifact.manifest.variants
    twice = {batch: 2 * rate for batch, rate in exact.images_per_second.items()}
    assert near.images_per_second.keys() == twice.keys()
    near = near.model_copy(update={"images_per_second": twice})
    told = exported.artifact.manifest.model_copy(update={"variants": [exact, near]})
    (folder / "manifest.json").write_text(told.to_json())
    return replace(exported, artifact=load_artifact(folder))


@pytest.fixture
def byte_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice is made as where the processor has instructions for int8."""
    monkeypatch.setattr("gan_serving.models.variants.adds_byte_products", lambda: True)


def operators(artifact: Artifact, variant: str = "fp32") -> set[str]:
    graph = onnx.load(artifact.path_of(artifact.variant(variant))).graph
    return {node.op_type for node in graph.node}


def test_verify_adds_the_variant_that_passed_though_another_failed(
    both: Exported, copy_of: Callable[[Artifact], Path], capsys: pytest.CaptureFixture[str]
):
    folder = copy_of(both.artifact)
    stored = read_certificate(load_artifact(folder))
    before = {result.variant: result for result in stored.results}
    elsewhere = before["int8"].model_copy(update={"provider": "elsewhere"})
    without = stored.model_copy(update={"results": [before["fp32"], elsewhere]})
    (folder / "certificate.json").write_text(without.to_json())
    with pytest.raises(SystemExit) as ended:
        verify_main([str(folder), "--add", "--tolerance", "1e-9"])  # int8 has no such gate
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "fp32 failed the gate 'tolerance'" in told
    assert told.strip().endswith("; added: int8")
    exact, kept, added = read_certificate(load_artifact(folder)).results
    assert (exact, kept, added.variant) == (before["fp32"], elsewhere, "int8")
    assert added.compared < before["int8"].compared  # the golden images alone


def test_int8_has_its_own_file_certificate_and_speeds(both: Exported):
    artifact = both.artifact
    assert [variant.name for variant in artifact.manifest.variants] == list(BOTH)
    assert sorted(path.name for path in artifact.directory.glob("*.onnx")) == ["generator.int8.onnx", "generator.onnx"]
    exact, near = read_certificate(artifact).results
    assert {"psnr", "visible", "worst_image"} == {g.code for g in near.gates} - {g.code for g in exact.gates}
    assert {"tolerance"} == {g.code for g in exact.gates} - {g.code for g in near.gates}
    assert all(gate.passed for gate in near.gates)
    assert psnr_of(next(gate.measured for gate in near.gates if gate.code == "psnr")) >= 40
    assert exact.against_float32.max_abs < 1e-4 < near.against_float32.max_abs
    assert {variant.byte_products for variant in artifact.manifest.variants} == {adds_byte_products()}
    card = (artifact.directory / "README.md").read_text()
    assert "| fp32 | " in card
    assert re.search(r"^\| int8 \| psnr \| 0\.0\d+ \(4\d\.\d dB\) \| 0\.02 \| root mean", card, re.MULTILINE)
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators(artifact, "int8")
    assert "DequantizeLinear" not in operators(artifact)


def test_int8_exported_again_is_the_same_file(
    make_source: MakeSourceFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gan_export.package.variants.PAYS", 0)  # whatever else this host does in the meantime
    one, other = (
        export(make_source(SPEC, trained_like()), "both", tmp_path / folder / "both", variants=BOTH)
        for folder in ("one", "other")
    )
    assert one.artifact.variant("int8").sha256 == other.artifact.variant("int8").sha256


def test_int8_that_is_no_faster_is_left_out(make_source: MakeSourceFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gan_export.package.variants.PAYS", 1000)
    made = export(make_source(SPEC, trained_like()), "both", tmp_path / "both", variants=BOTH)
    (note,) = (each for each in made.notes if each.startswith("int8 is left out: it is not faster than fp32 on this"))
    assert re.search(r"\(\d+\.\d\dx at batch 1, \d+\.\d\dx at batch 16\)", note)
    assert note in (made.artifact.directory / "README.md").read_text()
    assert [path.name for path in made.artifact.directory.glob("*.onnx")] == ["generator.onnx"]


def test_a_variant_that_a_service_would_refuse_when_it_starts_is_left_out(
    make_source: MakeSourceFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The golden images are few: more pixels may be off in them than in all that the certificate looks at."""

    def others(content: bytes, manifest: Manifest) -> tuple[Case, np.ndarray]:
        golden, pixels = unpack_golden(content, manifest)
        return golden, pixels[:, :, ::-1]

    monkeypatch.setattr("gan_export.package.variants.PAYS", 0)
    monkeypatch.setattr("gan_export.package.variants.unpack_golden", others)
    made = export(make_source(SPEC, trained_like()), "both", tmp_path / "both", variants=BOTH)
    (note,) = (each for each in made.notes if each.startswith("int8 is left out: it failed the gate 'psnr'"))
    assert note.endswith(". This was on the golden images, which a service checks when it starts.")
    assert [variant.name for variant in made.artifact.manifest.variants] == ["fp32"]
    assert [path.name for path in made.artifact.directory.glob("*.onnx")] == ["generator.onnx"]


def test_the_manifest_names_the_layers_and_what_was_made_of_them(both: Exported):
    exact, near = both.artifact.manifest.variants
    simpler = [one for one in exact.rewrites if one.layer is None]
    assert [one.name for one in simpler] == SIMPLIFIED
    for one in exact.rewrites[len(simpler) :]:  # which of them pay depends on the processor
        assert one.layer in LAYERS
        assert one.name in ("phases", "windows")
        assert one.speedup >= GAIN
    assert sorted(one.layer for one in near.rewrites) == LAYERS


def test_it_is_verified_on_this_host_like_the_other(both: Exported):
    found, _ = verify(both.artifact.directory)
    assert [result.variant for result in found.results] == list(BOTH)
    assert found.failures == []


def test_the_graph_is_rewritten_and_says_so_and_portable_leaves_it(make_source: MakeSourceFn, tmp_path: Path):
    source = make_source(SMALL)
    ours = export(source, "ours", tmp_path / "ours").artifact
    plain = export(source, "plain", tmp_path / "plain", portable=True).artifact
    assert [one.name for one in ours.manifest.variants[0].rewrites] == SIMPLIFIED
    assert plain.manifest.variants[0].rewrites == []
    assert "BatchNormalization" not in operators(ours)
    assert {"BatchNormalization", "ConvTranspose", "Round"} <= operators(plain)
    z = np.random.default_rng(0).standard_normal((8, SMALL.latent_dim)).astype(np.float32)
    one, other = (run_session(open_session(each), z, None, pixels=True) for each in (ours, plain))
    np.testing.assert_allclose(one[1], other[1], rtol=0, atol=1e-5)


def test_what_can_not_be_in_int8_is_left_out_with_a_sentence(make_source: MakeSourceFn, tmp_path: Path):
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(SMALL.latent_dim, SMALL.image_size**2)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.layer(z)).view(-1, 1, SMALL.image_size, SMALL.image_size)

    exported = export(make_source(SMALL, Flat().eval()), "flat", tmp_path / "flat", variants=BOTH)
    (note,) = exported.notes
    assert note == "int8 is left out: it has no convolution or matrix product that is large enough."
    assert note in (tmp_path / "flat" / "README.md").read_text()
    assert [variant.name for variant in exported.artifact.manifest.variants] == ["fp32"]
    assert not (tmp_path / "flat" / "generator.int8.onnx").exists()


def test_a_rewrite_that_changes_images_is_not_kept(
    make_source: MakeSourceFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A planted fault in the rewrites: the gates find it, and the graph as it was traced is used."""

    def wrong(model: onnx.ModelProto, *_: object, for_gpu: bool) -> RewrittenGraph:
        assert not for_gpu
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        weight = next(one for one in changed.graph.initializer if len(one.dims) == 4)
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
        return RewrittenGraph(changed, [Rewrite(name="wrong")])

    monkeypatch.setattr("gan_export.package.exact.tune", wrong)
    exported = export(make_source(SMALL), "m", tmp_path / "m")
    (note,) = exported.notes
    assert note.startswith("The graph is left as it was traced, because the rewritten one failed the gate 'tolerance'")
    assert exported.artifact.manifest.variants[0].rewrites == []
    assert exported.certificate.failures == []


def unheard_of(model: onnx.ModelProto, *_: object, **__: object) -> onnx.ModelProto:
    """A planted fault: the graph with an operator that ONNX Runtime does not have."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    next(node for node in changed.graph.node if "image" in node.output).op_type = "Unheard"
    return changed


@pytest.mark.parametrize("spec", [SPEC, SMALL])  # of the second, no other forms are tried
def test_rewrites_that_can_not_be_opened_leave_the_graph_as_it_was_traced(
    make_source: MakeSourceFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: GeneratorSpec
):
    monkeypatch.setattr("gan_export.tuning.SIMPLER", (reshapes, batch_norms, unheard_of))
    exported = export(make_source(spec), "m", tmp_path / "m", variants=BOTH)
    first, second = exported.notes
    assert first.startswith("The graph is left as it was traced, because the rewritten one ")
    assert second.startswith("int8 is left out: ONNX Runtime can't run it: ")
    assert all("Unheard" in note for note in exported.notes)
    assert all("\n" not in note for note in exported.notes)
    assert [(each.name, each.rewrites) for each in exported.artifact.manifest.variants] == [("fp32", [])]
    assert exported.certificate.failures == []


def test_a_form_that_can_not_be_opened_is_not_taken_and_told(
    make_source: MakeSourceFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[str] = []
    monkeypatch.setattr("gan_export.tuning.phases", unheard_of)
    exported = export(make_source(SPEC), "m", tmp_path / "m", progress=told.append)
    assert exported.notes == ()
    assert [one.name for one in exported.artifact.manifest.variants[0].rewrites] == SIMPLIFIED
    assert len([line for line in told if line.startswith("blocks.0 can't be run as ") and "Unheard" in line]) == 2


def test_manifests_of_before_there_were_rewrites_are_read(both: Exported):
    told = both.artifact.manifest.model_dump(mode="json")
    for variant in told["variants"]:
        del variant["rewrites"]
    assert Manifest.model_validate(told).identity() == both.artifact.manifest.identity()


@pytest.mark.usefixtures("byte_products")
@pytest.mark.parametrize(
    ("settings", "served"),
    [
        ({}, "fp32"),
        ({"variant": "int8"}, "int8"),
        ({"variant": "auto"}, "int8"),
        ({"variant": "auto", "min_psnr": 199}, "fp32"),
    ],
)
def test_a_service_takes_what_it_was_told_to(both: Exported, settings: dict[str, object], served: str):
    generator = make_generator(both.artifact, Settings(**settings))
    shown = generator.describe()
    assert shown["engine"]["variant"] == served
    assert shown["engine"]["sha256"] == both.artifact.variant(served).sha256
    errors = read_certificate(both.artifact).results[BOTH.index(served)].against_float32
    assert shown["certificate_summary"]["max_abs_error"] == errors.max_abs


@pytest.mark.usefixtures("byte_products")
def test_a_variant_that_is_certified_while_the_service_runs_is_taken(
    both: Exported, copy_of: Callable[[Artifact], Path]
):
    folder, settings = copy_of(both.artifact), Settings(variant="auto")
    whole = (folder / "certificate.json").read_text()
    stored = read_certificate(load_artifact(folder))
    exact, near = stored.results
    elsewhere = [exact, near.model_copy(update={"provider": "elsewhere"})]
    (folder / "certificate.json").write_text(stored.model_copy(update={"results": elsewhere}).to_json())

    def look(serving: dict[str, Served]) -> Served:
        found = examine(
            folder, settings, serving=serving, blocker=lambda _name: None, unloaded=frozenset(), recorder=None
        )
        assert found.generator is not None, found.problem
        return found.generator

    first = look({})
    assert first.engine.variant.name == "fp32"
    assert look({"both": first}).engine is first.engine
    (folder / "certificate.json").write_text(whole)
    second = look({"both": first})
    assert second.engine.variant.name == "int8"
    assert look({"both": second}).engine is second.engine


def test_a_variant_that_is_asked_for_and_not_there_is_an_error(make_source: MakeSourceFn, tmp_path: Path):
    artifact = export(make_source(SMALL), "m", tmp_path / "m").artifact
    with pytest.raises(ArtifactError, match=r"no variant 'int8', which GAN_VARIANT asks for; it has fp32: export it"):
        variants_to_try(artifact, read_certificate(artifact), Settings(variant="int8"))
    assert variants_to_try(artifact, read_certificate(artifact), Settings(variant="auto")) == ["fp32"]
    other = artifact.manifest.variants[0].model_copy(update={"name": "int8"})
    damaged = replace(artifact, manifest=artifact.manifest.model_copy(update={"variants": [other]}))
    reason = r"no variant 'fp32', which GAN_VARIANT asks for; it has int8: every export makes fp32, so it is damaged"
    with pytest.raises(ArtifactError, match=reason) as caught:
        variants_to_try(damaged, read_certificate(artifact), Settings())
    assert (caught.value.code, "--variants" in str(caught.value)) == ("variant", False)


@pytest.mark.usefixtures("byte_products")
def test_auto_falls_back_where_the_faster_one_draws_other_images(
    both: Exported, copy_of: Callable[[Artifact], Path], caplog: pytest.LogCaptureFixture
):
    """As on a host whose integer products overflow: here by other weights, with all digests put right."""
    folder = copy_of(both.artifact)
    graph = onnx.load(folder / "generator.int8.onnx")
    for one in graph.graph.initializer:
        if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4:
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one)[::-1].copy(), one.name))
    content = graph.SerializeToString()
    (folder / "generator.int8.onnx").write_bytes(content)
    manifest = load_manifest(folder)
    exact, int8 = manifest.variants
    int8 = int8.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    (folder / "manifest.json").write_text(manifest.model_copy(update={"variants": [exact, int8]}).to_json())
    artifact = load_artifact(folder)
    certificate = read_certificate(both.artifact)
    sealed = certificate.model_copy(update={"variants_sha256": artifact.manifest.variants_digest()})
    (folder / "certificate.json").write_text(sealed.to_json())
    assert {prop.key: prop.value for prop in graph.metadata_props}[IDENTITY_KEY] == artifact.manifest.identity()
    with caplog.at_level(logging.WARNING, "bentoml.ganworks"):
        generator = make_generator(artifact, Settings(variant="auto"))
    assert generator.engine.variant.name == "fp32"
    assert "generator both: int8 is not served here: [psnr]" in caplog.text
    with pytest.raises(ArtifactError) as caught:
        make_generator(artifact, Settings(variant="int8"))
    assert caught.value.code == "psnr"


def load_manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_text())
