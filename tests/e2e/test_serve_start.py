"""The start of `bentoml serve` where something is wrong: one line, or the rest is served."""

import hashlib
import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from gan_export.artifact import load_artifact
from gan_export.artifact.providers import CUDA
from gan_export.artifact.reading import read_certificate

pytestmark = pytest.mark.slow

RunFn = Callable[..., subprocess.CompletedProcess[str]]


def test_a_port_in_use_is_one_line(models: Path, tmp_path: Path, run_command: RunFn) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        env = {"GAN_MODELS": str(models), "BENTOML_HOME": str(tmp_path)}
        done = run_command("bentoml", "serve", "--port", port, cwd=Path(__file__).parents[2], env=env)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"bentoml serve: can't listen on 0.0.0.0:{port}: Address already in use; "
        "choose another port with bentoml serve --port"
    ]


OTLP = {"services": {"tracing": {"exporter_type": "otlp", "sample_rate": 1.0, "otlp": {"protocol": "http"}}}}


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"GAN_MODELS": "/nowhere"}, ["/nowhere", "gan-export"]),
        ({"GAN_MAX_N": "many"}, ["GAN_MAX_N", "'many'"]),
        (
            {"GAN_MODELS": "zoo", "GAN_VARIANT": "fp16"},
            ["no generator to serve: ", "has no variant 'fp16', which GAN_VARIANT asks for"],
        ),
        (
            {"GAN_MODELS": "zoo", "GAN_VARIANT": "int8", "GAN_PROVIDER": "openvino"},
            ["no generator to serve: ", "openvino does not draw 'int8', which GAN_VARIANT asks for"],
        ),
        (
            {"BENTOML_CONFIG_OVERRIDES": json.dumps(OTLP)},
            ["services.tracing needs opentelemetry-exporter-otlp-proto-http: pip install it"],
        ),
        pytest.param(
            {"GAN_PROVIDER": "cuda"},
            ["GAN_PROVIDER: cuda was requested", "has no CUDAExecutionProvider", "pip install 'ganworks[cuda]'"],
            marks=pytest.mark.skipif(CUDA.engine in ort.get_available_providers(), reason="this package has CUDA"),
        ),
    ],
)
def test_bad_settings_are_one_line(tmp_path: Path, run_command: RunFn, env: dict[str, str], words: list[str]) -> None:
    env = env | {"BENTOML_HOME": str(tmp_path)}
    done = run_command("bentoml", "serve", "--port", "0", cwd=Path(__file__).parents[2], env=env)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_artifacts_that_are_not_what_they_were_are_left_out_and_the_others_go_on(
    serve, models: Path, tmp_path: Path
) -> None:
    """One with a changed byte, and one whose weights were changed and sealed again: only its golden images tell."""
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    shutil.copytree(models / "digits", folder / "broken")
    graph = folder / "broken" / "generator.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    forged = onnx.load(folder / "colours" / "generator.onnx")
    weight = max(forged.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.5), weight.name))
    (folder / "colours" / "generator.onnx").write_bytes(forged.SerializeToString())
    digest = hashlib.sha256((folder / "colours" / "generator.onnx").read_bytes()).hexdigest()
    manifest = json.loads((folder / "colours" / "manifest.json").read_text())
    manifest["variants"][0]["sha256"] = digest
    (folder / "colours" / "manifest.json").write_text(json.dumps(manifest))
    certificate = read_certificate(load_artifact(models / "colours"))
    sealed = {"variants_sha256": load_artifact(folder / "colours").manifest.variants_digest()}
    (folder / "colours" / "certificate.json").write_text(certificate.model_copy(update=sealed).to_json())
    with serve(models=folder) as service:
        assert [model["name"] for model in httpx.get(f"{service.url}/models").json()["models"]] == ["digits"]
        # With one generator left, a request needs no name.
        assert httpx.post(f"{service.url}/generate", json={"n": 1}).status_code == 200
        log = service.log.read_text()
        assert f"[digest] {graph}: has sha256" in log
        assert f"[tolerance] {folder / 'colours'}: failed the gate 'tolerance'" in log
