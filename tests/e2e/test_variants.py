"""int8 from the command line to the service, as a user does it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from gan_export.artifact.processor import adds_byte_products

pytestmark = pytest.mark.slow

RunFn = Callable[..., subprocess.CompletedProcess[str]]


def test_exported_verified_and_served_in_int8(models: Path, run_command: RunFn, serve, tmp_path: Path):
    checkpoint = models.parent / "runs" / "colours" / "ckpt.pt"
    done = run_command("gan-export", checkpoint, "--variants", "fp32,int8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "models" / "colours" / "manifest.json").read_text())
    made = [variant["name"] for variant in manifest["variants"]]
    if not adds_byte_products() and made == ["fp32"]:
        assert "int8 is left out: " in done.stdout
        pytest.xfail("int8 does not pay on this processor")
    assert made == ["fp32", "int8"]
    assert "int8: images/s: " in done.stdout
    assert run_command("gan-verify", "models/colours", cwd=tmp_path).returncode == 0

    request = {"n": 5, "seed": 11, "format": "npy"}
    answers = {}
    for variant in ("fp32", "auto" if adds_byte_products() else "int8"):
        with serve(models=tmp_path / "models", variant=variant) as service:
            shown = httpx.get(f"{service.url}/models/colours").json()
            answers[shown["engine"]["variant"]] = httpx.post(f"{service.url}/generate", json=request).content
            alone = httpx.post(f"{service.url}/generate", json=request | {"n": 1, "seed": 13}).content
            assert alone[-3072:] == answers[shown["engine"]["variant"]][128 + 2 * 3072 : 128 + 3 * 3072]
    exact, near = (np.frombuffer(answers[name][128:], np.uint8).astype(int) for name in ("fp32", "int8"))
    assert np.abs(exact - near).max() > 0
    assert (np.abs(exact - near) > 4).mean() <= 0.02


def test_certified_and_served_with_openvino(models: Path, run_command: RunFn, serve, tmp_path: Path):
    shutil.copytree(models / "digits", tmp_path / "models" / "digits")
    added = run_command("gan-verify", "models/digits", "--provider", "openvino", "--add", cwd=tmp_path)
    assert added.returncode == 0, added.stderr
    assert "fp32, openvino  batch_invariant  ok" in added.stdout

    request = {"n": 37, "seed": 11, "format": "npy"}
    with serve(models=tmp_path / "models", provider="openvino") as service:
        shown = httpx.get(f"{service.url}/models/digits").json()
        assert shown["engine"]["provider"] == "OpenVINO in float32"
        whole = httpx.post(f"{service.url}/generate", json=request).content
        alone = httpx.post(f"{service.url}/generate", json=request | {"n": 1, "seed": 11 + 20}).content
    size = 28 * 28
    assert alone[-size:] == whole[128 + 20 * size :][:size]
    with serve(models=models) as service:
        exact = httpx.post(f"{service.url}/generate", json=request | {"model": "digits"}).content
    ours, theirs = (np.frombuffer(content[128:], np.uint8).astype(int) for content in (whole, exact))
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("text", ["int8", "fp32,int4"])
def test_variants_that_there_are_not(run_command: RunFn, tmp_path: Path, text: str):
    done = run_command("gan-export", "ckpt.pt", "--variants", text, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{text!r}: write fp32 and, optionally, others of fp32,int8,fp16" in " ".join(
        done.stderr.replace("│", " ").split()
    )
