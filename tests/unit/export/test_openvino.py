"""OpenVINO: its images against ONNX Runtime's, one seed as one image, its certificates, and what is said without it."""

import importlib.util
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from direct_inputs import inputs_of
from onnx import TensorProto, helper, numpy_helper

from gan_export.artifact import Artifact, ArtifactError, load_artifact, open_session, run_session
from gan_export.artifact.gates import rules_of
from gan_export.artifact.manifest import IDENTITY_KEY
from gan_export.artifact.openvino_session import OpenVinoSession
from gan_export.artifact.providers import OPENVINO, OPENVINO_BF16, Provider, check_provider, is_usable
from gan_export.artifact.reading import read_certificate, read_graph
from gan_export.artifact.verify import add_results, verify
from gan_export.capture import capture
from gan_export.cli.values import providers_of
from gan_export.cli.verify import main as verify_main
from gan_export.package.export import Exported, export
from gan_training.specs import GeneratorSpec

IMAGES = 37


def of(artifact: Artifact, cores: int = 2) -> OpenVinoSession:
    return OpenVinoSession(read_graph(artifact, artifact.variant()), OPENVINO.options, cores)


TWO_THAT_GO = """
import signal, sys
from pathlib import Path
from gan_export.artifact import load_artifact
from gan_export.artifact.openvino_session import OpenVinoSession
from gan_export.artifact.providers import OPENVINO
from gan_export.artifact.reading import read_graph

artifact = load_artifact(Path(sys.argv[1]))
sessions = [OpenVinoSession(read_graph(artifact, artifact.variant()), OPENVINO.options, 1) for _ in range(2)]
while sessions:
    del sessions[0]
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("heard")
"""


def test_it_draws_what_onnx_runtime_draws_and_rounds_as_the_graph_does(faces: Exported, clouds: Exported):
    for exported in (faces, clouds):
        latents, labels = inputs_of(exported.artifact, IMAGES)
        images, pixels = run_session(of(exported.artifact), latents, labels, pixels=True)
        wanted_images, wanted = run_session(open_session(exported.artifact), latents, labels, pixels=True)
        assert (images.dtype, images.shape) == (wanted_images.dtype, wanted_images.shape)
        assert np.abs(pixels - wanted).max() < 1e-5
        assert np.abs(images.astype(int) - wanted_images).max() <= 1
        rounded = np.rint((pixels + np.float32(1)) * np.float32(127.5))
        assert np.array_equal(images, rounded.astype(np.uint8))


def test_a_signal_is_heard_when_sessions_have_gone(clouds: Exported):
    """OpenVINO's plugin changes the stack that signals are handled on; a process of its own, which could end."""
    command = [sys.executable, "-c", TWO_THAT_GO, clouds.artifact.directory]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_an_image_is_the_same_alone_in_any_batch_and_on_any_number_of_cores(
    faces: Exported, clouds: Exported, cores: int
):
    for exported in (faces, clouds):
        latents, labels = inputs_of(exported.artifact, IMAGES)
        whole = run_session(of(exported.artifact, 2), latents, labels)
        session = of(exported.artifact, cores)
        for first, count in ((0, 1), (3, 2), (5, 16), (2, 17), (IMAGES - 1, 1), (0, IMAGES)):
            rows = slice(first, first + count)
            found = run_session(session, latents[rows], None if labels is None else labels[rows])
            assert np.array_equal(found, whole[rows])


def test_rows_that_were_never_given_are_latents_and_labels_that_there_are(faces: Exported):
    for run in of(faces.artifact)._runs:
        assert set(run._inputs) == {"z", "label"}
        assert all(len(values) > 1 and not values.any() for values in run._inputs.values())


def test_threads_take_turns_and_keep_what_they_were_given(faces: Exported):
    session = of(faces.artifact)
    latents, labels = inputs_of(faces.artifact, IMAGES)
    whole = run_session(session, latents, labels)
    starts = [i % (IMAGES - 3) for i in range(60)]
    with ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(lambda i: run_session(session, latents[i : i + 3], labels[i : i + 3]), starts))
    for start, images in zip(starts, kept, strict=True):
        assert np.array_equal(images, whole[start : start + 3])


@pytest.mark.parametrize(
    ("spec", "images"),
    [
        (GeneratorSpec(image_size=16, channels=1, latent_dim=8, width=4), 16),  # 0.3 million operations an image
        (GeneratorSpec(image_size=28, channels=1, latent_dim=64, width=64), 4),  # 14
        (GeneratorSpec(image_size=64, channels=3, latent_dim=64, width=64), 1),  # 205
        (GeneratorSpec(image_size=28, channels=1, latent_dim=64, width=64, upsample="nearest"), 2),  # 31
    ],
)
def test_images_of_a_run_go_by_their_work(make_source, spec: GeneratorSpec, images: int):
    traced = capture(make_source(spec).generator, spec.latent_dim, 0)
    session = OpenVinoSession(traced.SerializeToString(), OPENVINO.options, 1)
    assert session.images_per_run == images


def test_inputs_go_by_the_artifacts_names_whatever_else_a_tensor_is_called():
    """A reshape that changes nothing is dropped, and its name becomes one more of the input's."""
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "weight")
    shapes = [
        numpy_helper.from_array(np.array(shape), name) for name, shape in (("flat", [-1, 4]), ("map", [-1, 1, 2, 2]))
    ]
    nodes = [
        helper.make_node("Reshape", ["z", "flat"], ["another.name"]),
        helper.make_node("MatMul", ["another.name", "weight"], ["product"]),
        helper.make_node("Reshape", ["product", "map"], ["pixels"]),
        helper.make_node("Cast", ["pixels"], ["image"], to=TensorProto.UINT8),
    ]
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 4])
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, 2, 2])
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 1, 2, 2])
    graph = helper.make_graph(nodes, "g", [z], [image, pixels], [weight, *shapes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = OpenVinoSession(model.SerializeToString(), OPENVINO.options, 1)
    assert (session.inputs, session.outputs) == (["z"], ["image", "pixels"])
    latents = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)
    assert np.array_equal(session.run(["pixels"], {"z": latents})[0].reshape(5, 4), latents)


@pytest.mark.parametrize("provider", [OPENVINO, OPENVINO_BF16])
def test_the_gates_hold_and_the_result_is_its_own(faces: Exported, tmp_path: Path, provider: Provider):
    if not is_usable(provider):
        pytest.skip("this processor has no bfloat16")
    shutil.copytree(faces.artifact.directory, tmp_path / "faces")
    found, _ = verify(tmp_path / "faces", provider=provider)
    assert [(result.variant, result.provider) for result in found.results] == [("fp32", provider.title)]
    assert found.failures == []
    add_results(tmp_path / "faces", found.passing())
    kept = {(result.variant, result.provider) for result in read_certificate(load_artifact(tmp_path / "faces")).results}
    assert {("fp32", "CPUExecutionProvider"), ("fp32", provider.title)} <= kept


def test_float32_is_judged_as_float32_and_bfloat16_by_what_shows():
    assert "tolerance" in {rule.code for rule in rules_of("fp32", OPENVINO)}
    assert {"psnr", "visible"} <= {rule.code for rule in rules_of("fp32", OPENVINO_BF16)}


def test_an_export_is_certified_with_it_and_keeps_the_graph_of_the_processor(make_source, tmp_path: Path):
    source = make_source(GeneratorSpec(image_size=16, channels=1, latent_dim=8, width=4))
    plain = export(source, "m", tmp_path / "plain")
    exported = export(source, "m", tmp_path / "m", providers=providers_of("cpu,openvino"))
    results = [(result.variant, result.provider) for result in read_certificate(exported.artifact).results]
    assert results == [("fp32", "CPUExecutionProvider"), ("fp32", "OpenVINO in float32")]
    digests = {each.artifact.manifest.variants[0].sha256 for each in (plain, exported)}
    assert len(digests) == 1
    (speed,) = set(exported.notes) - set(plain.notes)
    found = re.fullmatch(
        r"openvino: fp32: images/s: ([\d,]+) at batch 1, ([\d,]+) at batch 64, ([\d.]+)x and ([\d.]+)x "
        r"the speed of ONNX Runtime on the processor\.",
        speed,
    )
    assert found is not None, speed
    ours = exported.artifact.manifest.variants[0].images_per_second
    for rate, ratio, batch in zip(found.groups()[:2], found.groups()[2:], ("1", "64"), strict=True):
        assert float(rate.replace(",", "")) / ours[batch] == pytest.approx(float(ratio), abs=0.02)


def test_a_graph_of_another_manifest_is_refused(faces: Exported, monkeypatch: pytest.MonkeyPatch):
    model = onnx.load_from_string(read_graph(faces.artifact, faces.artifact.variant()))
    next(each for each in model.metadata_props if each.key == IDENTITY_KEY).value = "0" * 64
    monkeypatch.setattr("gan_export.artifact.runtime.read_graph", lambda *_: model.SerializeToString())
    with pytest.raises(ArtifactError, match="was exported with another") as caught:
        open_session(faces.artifact, provider=OPENVINO)
    assert caught.value.code == "identity"


def test_what_openvino_can_not_read_is_one_line(faces: Exported, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gan_export.artifact.runtime.read_graph", lambda *_: b"no graph")
    with pytest.raises(ArtifactError, match=r"generator\.onnx: OpenVINO can't load it: ") as caught:
        open_session(faces.artifact, provider=OPENVINO)
    assert caught.value.code == "unloadable"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("provider", [OPENVINO, OPENVINO_BF16])
def test_without_the_package_it_is_one_line_with_the_way_to_get_it(
    provider: Provider, faces: Exported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SystemExit) as ended:
        verify_main([str(faces.artifact.directory), "--provider", provider.word])
    assert ended.value.code == 1
    assert capsys.readouterr().err.strip() == (
        f"gan-verify: {provider.word} was requested, but the package openvino is not installed: "
        "pip install 'ganworks[openvino]'"
    )


def test_bfloat16_on_a_processor_without_it_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gan_export.artifact.providers._openvino_capabilities", lambda: ("FP32", "INT8"))
    with pytest.raises(
        ArtifactError, match="openvino-bf16 was requested, but this processor has no bfloat16 instructions"
    ):
        check_provider(OPENVINO_BF16)
    check_provider(OPENVINO)
