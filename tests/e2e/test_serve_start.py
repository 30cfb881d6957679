"""The start of `bentoml serve` where something is wrong: one line, or the rest is served."""

import contextlib
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from tests.certificates import PASSWORD, write_certificate
from tests.waiting import until

from gan_export.artifact import load_artifact
from gan_export.artifact.providers import CUDA
from gan_export.artifact.reading import read_certificate

pytestmark = pytest.mark.slow

RunFn = Callable[..., subprocess.CompletedProcess[str]]

UNLOCK = ("--ssl-keyfile-password", PASSWORD)


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


def start(run_command: RunFn, models: Path, home: Path, *options: str) -> list[str]:
    """The lines of a start that ends: with nothing but its reason."""
    env = {"GAN_MODELS": str(models), "BENTOML_HOME": str(home)}
    done = run_command("bentoml", "serve", "gan_serving.service:GanService", *options, cwd=home, env=env)
    assert done.returncode == 1
    return done.stderr.strip().splitlines()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--port", "70000"], "--port is 70000; choose one from 1 to 65535"),
        (["--port", "-1"], "--port is -1; choose one from 1 to 65535"),
        (
            ["--host", "localhost"],
            "--host is 'localhost'; give an IP address of this machine, as 127.0.0.1 for itself alone or 0.0.0.0 for "
            "all",
        ),
        (
            ["--host", "192.0.2.1", "--port", "0"],  # of a network for documents, which no machine is in
            "can't listen on 192.0.2.1:0: Cannot assign requested address; give an address that this machine has with "
            "bentoml serve --host, or 0.0.0.0 for all",
        ),
    ],
)
def test_an_address_that_can_not_be_is_one_line(
    models: Path, tmp_path: Path, run_command: RunFn, options: list[str], reason: str
) -> None:
    assert start(run_command, models, tmp_path, *options) == [f"bentoml serve: {reason}"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--ssl-keyfile", "locked.pem"], "--ssl-keyfile needs --ssl-certfile"),
        (["--ssl-certfile", "no.pem"], "--ssl-certfile: can't read {folder}/no.pem: No such file or directory"),
        (["--ssl-certfile", "cert.pem"], "--ssl-certfile: can't use {folder}/cert.pem with a key in it: "),
        (["--ssl-certfile", "cert.pem", "--ssl-keyfile", "other.pem"], "{folder}/other.pem: key values mismatch; "),
        (
            ["--ssl-certfile", "cert.pem", "--ssl-keyfile", "locked.pem"],
            "the file is another one, or the password is; ",
        ),
        (
            ["--ssl-certfile", "cert.pem", "--ssl-keyfile", "locked.pem", *UNLOCK, "--ssl-ciphers", "none"],
            "no cipher can be selected",
        ),
    ],
)
def test_a_certificate_that_can_not_be_used_is_one_line(
    models: Path, tmp_path: Path, run_command: RunFn, options: list[str], reason: str
) -> None:
    write_certificate(tmp_path)
    (line,) = start(run_command, models, tmp_path, *options)
    assert reason.format(folder=tmp_path) in line


def test_with_a_certificate_it_speaks_tls(serve, models: Path, tmp_path: Path) -> None:
    write_certificate(tmp_path)
    given = ("--ssl-certfile", f"{tmp_path}/cert.pem", "--ssl-keyfile", f"{tmp_path}/locked.pem", *UNLOCK)
    with serve(*given, models=models, wait=False) as service:
        url = f"{service.url.replace('http:', 'https:')}/readyz"
        trusted = ssl.create_default_context(cafile=f"{tmp_path}/cert.pem")

        def is_ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(url, verify=trusted).status_code == 200
            return False

        until(is_ready, "answers over TLS", process=service.process)


def test_a_service_without_keys_says_where_it_listens(serve, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = {"services": {"http": {"host": "127.0.0.1"}}}
    monkeypatch.setenv("BENTOML_CONFIG_OVERRIDES", json.dumps(configured))
    with serve(models=models) as service:
        where = service.url.removeprefix("http://")
        assert f"no API keys: whoever reaches {where} may call" in service.log.read_text()


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
