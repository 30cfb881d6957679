"""Which graph a service draws with, and on what: GAN_PROVIDER, GAN_VARIANT and what the artifact is certified for."""

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from gan_export.artifact import Artifact, ArtifactError, load_artifact
from gan_export.artifact.certificate import Certificate, VariantCertificate
from gan_export.artifact.providers import CPU, CUDA, CUDA_TF32, OPENVINO, OPENVINO_BF16, Provider, is_usable
from gan_export.artifact.reading import read_certificate
from gan_serving.models import variants
from gan_serving.models.engine import Engine
from gan_serving.models.generator import make_generator
from gan_serving.models.variants import GraphChoice, choices_to_try
from gan_serving.settings import Settings

ZOO = Path(__file__).parents[4] / "zoo"
NO_GPU = pytest.mark.skipif(is_usable(CUDA), reason="there is a GPU")


@pytest.fixture
def artifact() -> Artifact:
    return load_artifact(ZOO / "mnist-cgan")


@pytest.fixture
def certificate(artifact: Artifact) -> Certificate:
    return read_certificate(artifact)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice is made as where there is a GPU."""
    monkeypatch.setattr(variants, "is_usable", lambda _provider: True)


def with_result(certificate: Certificate, provider: Provider, variant: str = "fp32") -> Certificate:
    """Also measured there: as fp32 was on the processor, or int8 if it is to be near alone."""
    exact, int8 = certificate.results[:2]
    near = variant != "fp32" or not provider.exact
    made: VariantCertificate = (int8 if near else exact).model_copy(
        update={"variant": variant, "provider": provider.title}
    )
    return certificate.model_copy(update={"results": [*certificate.results, made]})


def with_variant(artifact: Artifact, name: str) -> Artifact:
    again = artifact.manifest.variants[0].model_copy(update={"name": name})
    listed = [*artifact.manifest.variants, again]
    return Artifact(artifact.directory, artifact.manifest.model_copy(update={"variants": listed}))


def test_the_processor_draws_unless_something_else_is_asked_for(artifact: Artifact, certificate: Certificate):
    assert choices_to_try(artifact, certificate, Settings()) == [GraphChoice("fp32", CPU)]


@pytest.mark.parametrize(
    ("there", "here", "wanted"),
    [
        (True, True, ["int8", "fp32"]),
        (True, False, ["fp32", "int8"]),
        (None, False, ["fp32", "int8"]),
        (False, False, ["int8", "fp32"]),
        (False, True, ["int8", "fp32"]),
        (True, None, ["int8", "fp32"]),
        (None, None, ["int8", "fp32"]),
    ],
)
def test_auto_takes_int8_where_it_is_as_fast_as_where_it_was_made(
    artifact: Artifact,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    there: bool | None,
    here: bool | None,
    wanted: list[str],
):
    monkeypatch.setattr(variants, "adds_byte_products", lambda: here)
    told = [variant.model_copy(update={"byte_products": there}) for variant in artifact.manifest.variants]
    artifact = Artifact(artifact.directory, artifact.manifest.model_copy(update={"variants": told}))
    ways = choices_to_try(artifact, certificate, Settings(variant="auto", min_psnr=35))
    assert ways == [GraphChoice(name, CPU) for name in wanted]
    assert choices_to_try(artifact, certificate, Settings(variant="int8")) == [GraphChoice("int8", CPU)]


@pytest.mark.parametrize("provider", [CUDA, CUDA_TF32, OPENVINO, OPENVINO_BF16])
@pytest.mark.parametrize("variant", ["fp32", "auto"])
def test_a_provider_draws_what_is_certified_on_it(
    artifact: Artifact, certificate: Certificate, provider: Provider, variant: str
):
    settings = Settings(provider=provider.word, variant=variant)
    with pytest.raises(ArtifactError) as caught:
        choices_to_try(artifact, certificate, settings)
    assert caught.value.code == "certificate"
    assert f"gan-verify {artifact.directory} --provider {provider.word} --add" in str(caught.value)
    assert choices_to_try(artifact, with_result(certificate, provider), settings) == [GraphChoice("fp32", provider)]


def test_a_certificate_of_float32_is_none_of_tf32(artifact: Artifact, certificate: Certificate):
    with pytest.raises(ArtifactError, match="is not certified on CUDAExecutionProvider with TF32"):
        choices_to_try(artifact, with_result(certificate, CUDA), Settings(provider="cuda-tf32"))


def test_a_gpu_does_not_draw_int8(artifact: Artifact, certificate: Certificate):
    with pytest.raises(ArtifactError, match="cuda does not draw 'int8', which GAN_VARIANT asks for, but fp32 and fp16"):
        choices_to_try(artifact, with_result(certificate, CUDA), Settings(provider="cuda", variant="int8"))


@pytest.mark.parametrize(("min_psnr", "wanted"), [(40, ["fp16", "fp32"]), (199, ["fp32"])])
def test_auto_on_a_gpu_takes_float16_where_it_is_near_enough(
    artifact: Artifact, certificate: Certificate, min_psnr: float, wanted: list[str]
):
    both = with_result(with_result(certificate, CUDA), CUDA, "fp16")
    settings = Settings(provider="cuda", variant="auto", min_psnr=min_psnr)
    ways = choices_to_try(with_variant(artifact, "fp16"), both, settings)
    assert ways == [GraphChoice(name, CUDA) for name in wanted]


@NO_GPU
def test_auto_is_the_processor_where_there_is_no_gpu(artifact: Artifact, certificate: Certificate):
    ways = choices_to_try(artifact, with_result(certificate, CUDA), Settings(provider="auto"))
    assert ways == [GraphChoice("fp32", CPU)]


@pytest.mark.usefixtures("gpu")
def test_auto_is_the_gpu_first_where_there_is_one(artifact: Artifact, certificate: Certificate):
    ways = choices_to_try(artifact, with_result(certificate, CUDA), Settings(provider="auto"))
    assert ways == [GraphChoice("fp32", CUDA), GraphChoice("fp32", CPU)]


@pytest.mark.usefixtures("gpu")
def test_auto_passes_over_a_gpu_on_which_it_is_not_certified(
    artifact: Artifact, certificate: Certificate, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "bentoml.ganworks"):
        assert choices_to_try(artifact, certificate, Settings(provider="auto")) == [GraphChoice("fp32", CPU)]
    assert "generator mnist-cgan: cuda is passed over: [certificate]" in caplog.text


@NO_GPU
@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_fails_leaves_auto_with_the_processor(
    artifact: Artifact, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    found = with_result(certificate, CUDA)
    monkeypatch.setattr("gan_serving.models.generator.read_certificate", lambda _artifact: found)
    with caplog.at_level(logging.WARNING, "bentoml.ganworks"):
        generator = make_generator(artifact, Settings(provider="auto"))
    assert "fp32 with cuda is not served here: [provider] cuda was requested, but" in caplog.text
    assert generator.describe()["engine"]["provider"] == CPU.title


@pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
def test_another_version_of_what_draws_makes_another_digest(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, package: str
):
    module = pytest.importorskip(package)
    generator = make_generator(artifact, Settings())
    provider = OPENVINO if package == "openvino" else CPU
    engine = SimpleNamespace(variant=generator.engine.variant, provider=provider)

    def digest() -> str:
        return replace(generator, engine=cast(Engine, engine)).digest

    before = digest()
    assert digest() == before
    monkeypatch.setattr(module, "__version__", "0.0.0")
    assert digest() != before


def test_a_variant_that_was_asked_for_and_not_measured_has_no_other_ones_numbers(
    artifact: Artifact, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
):
    exact_alone = certificate.model_copy(update={"results": certificate.results[:1]})
    monkeypatch.setattr("gan_serving.models.generator.read_certificate", lambda _artifact: exact_alone)
    summary = make_generator(artifact, Settings(variant="int8")).info(default=True).certificate
    assert summary is not None
    assert (summary.images, summary.max_abs_error, summary.gates, summary.allowed) == (0, None, [], [])


@NO_GPU
def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(
    artifact: Artifact, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
):
    found = with_result(certificate, CUDA)
    monkeypatch.setattr("gan_serving.models.generator.read_certificate", lambda _artifact: found)
    with pytest.raises(ArtifactError) as caught:
        make_generator(artifact, Settings(provider="cuda"))
    assert caught.value.code == "provider"


@pytest.mark.parametrize(("provider", "in_loop"), [(CPU, True), (OPENVINO, True), (CUDA, False)])
def test_the_event_loop_never_waits_for_a_gpu(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, provider: Provider, in_loop: bool
):
    """A run on a GPU waits for whatever else it computes, and all requests would with it."""
    engine = Engine(artifact)
    engine.provider = provider
    monkeypatch.setattr("gan_serving.models.generator.open_engine", lambda *_given, **_more: engine)
    assert make_generator(artifact, Settings(provider="cpu")).batcher.in_loop is in_loop


def test_a_part_of_a_long_request_is_waited_for_as_long_as_a_response(artifact: Artifact):
    assert make_generator(artifact, Settings(timeout=7.5)).batcher.patience == 7.5
