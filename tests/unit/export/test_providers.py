"""What computes: how each provider is set up, what it may draw, and what is said where it is not there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper

from gan_export.artifact import ArtifactError, open_session
from gan_export.artifact.gates import rules_of
from gan_export.artifact.measures import is_near
from gan_export.artifact.providers import (
    CPU,
    CUDA,
    CUDA_TF32,
    PROVIDERS,
    Provider,
    algorithm_search,
    check_provider,
    count_gpus,
    is_usable,
    provider_titled,
)
from gan_export.artifact.verify import with_slow_layers
from gan_export.capture import capture
from gan_export.cli.export import main as export_main
from gan_export.cli.values import providers_of
from gan_export.cli.verify import main as verify_main
from gan_export.half import half
from gan_export.package.export import Exported, export
from gan_export.rewrite import FORMS
from gan_export.tuning import RewrittenGraph, feed_of, open_graph, simplified, split, tune
from gan_training.specs import GeneratorSpec

NO_PACKAGE = pytest.mark.skipif(CUDA.engine in ort.get_available_providers(), reason="this package has CUDA")
NO_GPU = pytest.mark.skipif(count_gpus() > 0, reason="there is a GPU")


def test_float32_is_float32_unless_tf32_is_asked_for():
    assert CUDA.options["use_tf32"] == "0"
    assert CUDA_TF32.options == CUDA.options | {"use_tf32": "1"}
    assert "tolerance" in {rule.code for rule in rules_of("fp32", CUDA)}
    assert {"psnr", "visible"} <= {rule.code for rule in rules_of("fp32", CUDA_TF32)}
    assert not is_near("fp32", CUDA)
    assert is_near("fp16", CUDA)


def test_a_graph_with_transposed_convolutions_gets_the_algorithm_that_repeats_itself(make_source):
    source = make_source(GeneratorSpec(image_size=28, channels=1, latent_dim=16))
    traced = capture(source.generator, 16, 0)
    assert "ConvTranspose" in {node.op_type for node in traced.graph.node}
    assert algorithm_search(traced.SerializeToString()) == "DEFAULT"
    for form in (split(simplified(traced)).model, half(split(simplified(traced)).model)):
        assert algorithm_search(form.SerializeToString()) == "HEURISTIC"


def test_names_that_a_rewritten_layer_kept_make_no_graph_slow():
    """As torch's older exporter names what a layer makes."""
    name, more = "/main/main.2/ConvTranspose_output_0", {"name": "ConvTranspose", "strides": [2, 2]}
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], [name], **more), helper.make_node("Tanh", [name], ["y"])]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 4, 4])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weight = numpy_helper.from_array(np.ones((2, 1, 2, 2), np.float32), "w")
    model = helper.make_model(
        helper.make_graph(nodes, "g", [given], [made], [weight]), opset_imports=[helper.make_opsetid("", 17)]
    )
    assert algorithm_search(model.SerializeToString()) == "DEFAULT"
    rewritten = split(RewrittenGraph(model)).model.SerializeToString()
    assert b"ConvTranspose" in rewritten
    assert algorithm_search(rewritten) == "HEURISTIC"


def test_a_graph_for_gpus_has_none_and_draws_the_same_images(make_source):
    source = make_source(GeneratorSpec(image_size=28, channels=1, latent_dim=16))
    traced = capture(source.generator, 16, 0)
    tuned = tune(traced, source.latent, 0, for_gpu=True)
    assert "ConvTranspose" not in {node.op_type for node in tuned.model.graph.node}
    rewritten = [(each.name, each.layer) for each in tuned.rewrites if each.name in FORMS]
    assert rewritten == [("windows", "blocks.0"), ("windows", "to_image.0")]
    feed = feed_of(source.latent, 0, 5)
    ours, theirs = (open_graph(model).run(["pixels"], feed)[0] for model in (tuned.model, traced))
    assert np.abs(ours - theirs).max() < 1e-4


def test_an_export_for_gpus_is_certified_here_and_gan_verify_tells_of_one_that_would_be_slow(
    make_source, tmp_path: Path
):
    source = make_source(GeneratorSpec(image_size=28, channels=1, latent_dim=16))
    plain = export(source, "plain", tmp_path / "plain", portable=True).artifact
    exported = export(source, "m", tmp_path / "m", for_gpu=True)
    assert exported.certificate.failures == []
    [fp32] = exported.artifact.manifest.variants
    assert [(each.name, each.layer) for each in fp32.rewrites][-2:] == [
        ("windows", "blocks.0"),
        ("windows", "to_image.0"),
    ]
    assert with_slow_layers(plain.directory, CUDA) == ["fp32"]
    assert with_slow_layers(plain.directory, CPU) == []
    assert with_slow_layers(exported.artifact.directory, CUDA) == []


def test_titles_tell_providers_apart():
    assert [provider_titled(each.title) for each in PROVIDERS.values()] == list(PROVIDERS.values())
    assert provider_titled("AnotherExecutionProvider") is None


@NO_PACKAGE
@pytest.mark.parametrize("provider", [CUDA, CUDA_TF32])
def test_without_the_package_it_is_one_line_with_the_way_to_get_it(provider: Provider, faces: Exported):
    assert not is_usable(provider)
    with pytest.raises(ArtifactError) as caught:
        open_session(faces.artifact, provider=provider)
    assert caught.value.code == "provider"
    assert str(caught.value).startswith(f"{provider.word} was requested, but the installed ONNX Runtime")
    assert "pip install 'ganworks[cuda]'" in str(caught.value)
    assert "\n" not in str(caught.value)


@NO_PACKAGE
def test_an_export_for_a_gpu_that_is_not_there_makes_nothing(
    make_source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source = make_source(GeneratorSpec(image_size=16, channels=1, latent_dim=8, width=4))
    with pytest.raises(ArtifactError, match="was requested, but the installed ONNX Runtime") as caught:
        export(source, "m", tmp_path / "deep" / "m", providers=(CUDA_TF32,))
    assert caught.value.code == "provider"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit) as ended:  # and before the file is read
        export_main([str(tmp_path / "nowhere.pt"), "--out", str(tmp_path / "m"), "--providers", "cpu,cuda"])
    assert ended.value.code == 1
    assert "cuda was requested, but the installed ONNX Runtime" in capsys.readouterr().err


@NO_PACKAGE
def test_float16_is_left_out_where_it_can_not_be_run(make_source, tmp_path: Path):
    source = make_source(GeneratorSpec(image_size=16, channels=1, latent_dim=8, width=4))
    exported = export(source, "m", tmp_path / "m", variants=("fp32", "fp16"))
    (note,) = exported.notes
    assert note.startswith("fp16 is left out because it can't be run here: the installed ONNX Runtime")
    assert note in (tmp_path / "m" / "README.md").read_text()
    assert [variant.name for variant in exported.artifact.manifest.variants] == ["fp32"]


@NO_PACKAGE
def test_gan_verify_says_so_in_one_line(faces: Exported, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        verify_main([str(faces.artifact.directory), "--provider", "cuda"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.strip().startswith("gan-verify: cuda was requested, but the installed ONNX Runtime")


def test_without_onnx_runtime_gan_verify_says_what_to_install(faces: Exported):
    code = "import sys; sys.modules['onnxruntime'] = None; from gan_export.__main__ import verify; verify()"
    command = [sys.executable, "-c", code, str(faces.artifact.directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "gan-verify: needs the package 'onnxruntime'; install it with: pip install 'ganworks[serve]'\n"
    )


@NO_GPU
def test_with_the_package_and_without_a_gpu_it_is_another_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA.engine, CPU.engine])
    with pytest.raises(ArtifactError, match=r"^cuda was requested, but there is no GPU here: .*; use cpu$") as caught:
        check_provider(CUDA)
    assert caught.value.code == "provider"


def test_a_variant_is_for_some_providers_only(faces: Exported):
    with pytest.raises(ArtifactError, match="has no variant 'int8'"):
        open_session(faces.artifact, "int8", provider=CPU)
    exact = faces.artifact.manifest.variants[0]
    half = exact.model_copy(update={"name": "fp16"})
    faces.artifact.manifest.variants.append(half)
    try:
        with pytest.raises(ArtifactError, match="cpu can't run the variant 'fp16', only fp32 or int8") as caught:
            open_session(faces.artifact, "fp16")
    finally:
        faces.artifact.manifest.variants.remove(half)
    assert caught.value.code == "provider"


def test_providers_are_written_as_their_words():
    assert providers_of("cpu") == ()
    assert providers_of("cuda-tf32, cpu,cuda") == (CUDA, CUDA_TF32)
    with pytest.raises(
        typer.BadParameter, match="'cuda,tpu': write one or more of cpu,cuda,cuda-tf32,openvino,openvino-bf16"
    ):
        providers_of("cuda,tpu")
