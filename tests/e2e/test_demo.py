"""`make demo ONCE=1` in short: the same program with a few seconds of training."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import PYTHON
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TAKEN_UP_SECONDS = 30
"""A look every two seconds, and loading on a busy machine."""


@pytest.mark.slow
def test_the_demo_goes_the_whole_path_and_leaves_nothing_running(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    kept = ("serving", "export", "clients", "training", "examples", "zoo")
    for part in kept:
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "bentofile.yaml", checkout)
    command = [PYTHON, "examples/demo.py", "--once", "--minutes", "0.1", "--port", "0"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GAN_")}
    env |= {"GAN_API_KEYS": "key", "GAN_VARIANT": "int8"}  # of another service
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("mnist-cgan", "demo-digits"):
        with Image.open(checkout / "samples" / name / "sheet.png") as picture:
            assert picture.size == (242, 242)
    assert re.search(r"contact sheet +samples/demo-digits/sheet.png", done.stdout)
    taken_up = re.search(r"([\d.]+) s later the service has demo-digits, without a restart", done.stdout)
    assert taken_up
    assert float(taken_up[1]) < TAKEN_UP_SECONDS
    assert re.search(r"export check .*largest error \d\.\d\de-\d\d, PSNR \d+ dB", done.stdout)
    url = re.search(r"service +http://localhost:(\d+)", done.stdout)
    assert url
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if f"--port\0{url[1]}\0".encode() in _read(p)]
    assert not left


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
