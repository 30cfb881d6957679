"""`bentoml build`: a bento that serves from any directory, with the artifacts inside it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from commands import PYTHON
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MARK = "this is the code of the bento"


def in_the_zoo() -> list[str]:
    return [manifest.parent.name for manifest in ROOT.glob("zoo/*/manifest.json")]


def python_of(dockerfile: Path) -> str:
    """The image of Python that it begins with."""
    (found,) = set(re.findall(r"^FROM (python:\S+)", dockerfile.read_text(), re.MULTILINE))
    return found


def test_a_bento_serves_from_anywhere_with_its_own_code_and_artifacts(serve, models: Path, tmp_path: Path) -> None:
    checkout, home, elsewhere = tmp_path / "checkout", tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    for part in ("serving", "export", "clients", "zoo", "bentofile.yaml"):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout / part)
    shutil.copytree(models, checkout / "models")
    # So that the log tells which copy of the code is running.
    with (checkout / "serving" / "gan_serving" / "__init__.py").open("a") as module:
        module.write(f"\nprint({MARK!r}, flush=True)\n")
    (checkout / "runs").mkdir()
    (checkout / "runs" / "ckpt.pt").write_bytes(b"not for the bento")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GAN_")}
    env |= {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true", "PIP_NO_INDEX": "1"}
    command = [Path(PYTHON).parent / "bentoml", "build", "--version", "test"]
    built = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr

    made = home / "bentos" / "ganworks" / "test"
    lines = (made / "env" / "python" / "requirements.txt").read_text().splitlines()
    required = [canonicalize_name(Requirement(line).name) for line in lines]
    assert sorted(required) == sorted({"bentoml", *required}), "two requirements of one package may contradict"
    assert python_of(made / "env" / "docker" / "Dockerfile") == python_of(ROOT / "serving" / "deploy" / "Dockerfile")
    bento = made / "src"
    assert (bento / "models" / "digits" / "generator.onnx").is_file()
    assert not list(bento.rglob("*.pt"))
    assert not list((bento / "zoo").glob("*.*")), "what makes the zoo again has no place here"
    assert not (bento / "export" / "gan_export" / "capture.py").exists(), "torch's side of the export has no place here"
    shutil.rmtree(checkout)
    with serve("ganworks:test", cwd=elsewhere, home=home) as service:
        found = httpx.get(f"{service.url}/models").json()["models"]
        assert {model["name"] for model in found} == {"colours", "digits", *in_the_zoo()}
        (default,) = (model["name"] for model in found if model["default"])
        assert default in ("colours", "digits"), "the user's own go before the zoo"
        answer = httpx.post(f"{service.url}/generate", json={"model": "digits", "format": "png"})
        assert answer.status_code == 200
        assert str(bento / "models") in service.log.read_text()
        assert MARK in service.log.read_text(), "the installed packages were served, not the bento's own"
