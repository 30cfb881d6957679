"""What computes: how each provider is set up, what it may draw, and what is said where it is not there."""

import onnxruntime as ort
import pytest

from gan_export.artifact import ArtifactError, open_session
from gan_export.artifact.gates import is_near, rules_of
from gan_export.artifact.providers import (
    CPU,
    CUDA,
    CUDA_TF32,
    PROVIDERS,
    Provider,
    check_provider,
    count_gpus,
    is_usable,
    provider_titled,
)
from gan_export.package import Exported

NO_PACKAGE = pytest.mark.skipif(CUDA.engine in ort.get_available_providers(), reason="this package has CUDA")
NO_GPU = pytest.mark.skipif(count_gpus() > 0, reason="there is a GPU")


def test_float32_is_float32_unless_tf32_is_asked_for():
    assert CUDA.options["use_tf32"] == "0"
    assert CUDA_TF32.options == CUDA.options | {"use_tf32": "1"}
    assert "tolerance" in {rule.code for rule in rules_of("fp32", CUDA)}
    assert {"psnr", "visible"} <= {rule.code for rule in rules_of("fp32", CUDA_TF32)}
    assert not is_near("fp32", CUDA)
    assert is_near("fp16", CUDA)


def test_algorithms_are_not_chosen_by_measurement_which_would_differ_at_every_start():
    assert {PROVIDERS[word].options["cudnn_conv_algo_search"] for word in ("cuda", "cuda-tf32")} == {"HEURISTIC"}


def test_titles_tell_providers_apart():
    assert [provider_titled(each.title) for each in PROVIDERS.values()] == list(PROVIDERS.values())
    assert provider_titled("AnotherExecutionProvider") is CPU


@NO_PACKAGE
@pytest.mark.parametrize("provider", [CUDA, CUDA_TF32])
def test_without_the_package_it_is_one_line_with_the_way_to_get_it(provider: Provider, faces: Exported):
    assert not is_usable(provider)
    with pytest.raises(ArtifactError) as caught:
        open_session(faces.artifact, provider=provider)
    assert caught.value.code == "provider"
    assert str(caught.value).startswith(f"{provider.word} was asked for, and the installed ONNX Runtime")
    assert "pip install 'ganworks[cuda]'" in str(caught.value)
    assert "\n" not in str(caught.value)


@NO_GPU
def test_with_the_package_and_without_a_gpu_it_is_another_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA.engine, CPU.engine])
    with pytest.raises(ArtifactError, match=r"^cuda was asked for, and there is no GPU here: .*; use cpu$") as caught:
        check_provider(CUDA)
    assert caught.value.code == "provider"


def test_a_variant_is_for_some_providers_only(faces: Exported):
    with pytest.raises(ArtifactError, match="has no variant 'int8'"):
        open_session(faces.artifact, "int8", provider=CPU)
    exact = faces.artifact.manifest.variants[0]
    half = exact.model_copy(update={"name": "fp16"})
    faces.artifact.manifest.variants.append(half)
    try:
        with pytest.raises(ArtifactError, match="cpu does not draw the variant 'fp16', but fp32 or int8") as caught:
            open_session(faces.artifact, "fp16")
    finally:
        faces.artifact.manifest.variants.remove(half)
    assert caught.value.code == "provider"
