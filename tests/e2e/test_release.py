"""The release: what is in the sdist and the wheel, and what they do on a machine that has nothing but Python."""

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"gan_training", "gan_export", "gan_serving", "gan_client"}
HEAVY = ("torch", "bentoml", "onnx", "onnxruntime", "scipy")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS, VERSION = sorted(PROJECT["scripts"]), PROJECT["version"]
ZOO = sorted(manifest.parent.name for manifest in ROOT.glob("zoo/*/manifest.json"))


@dataclass(frozen=True)
class Release:
    """What `python -m build` gives."""

    sdist: Path
    wheel: Path


def build(*arguments: str, out: Path) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", *arguments, "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    build(out=out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Release(sdist, wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_four_packages_and_the_zoo(release: Release) -> None:
    names = contents(release.wheel).keys()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    zoo = {name.removeprefix("gan_serving/zoo/") for name in names if name.startswith("gan_serving/zoo/")}
    assert {name.split("/")[0] for name in zoo} == set(ZOO), "only artifacts, and all of them"
    for name in ZOO:
        assert {path.split("/")[1] for path in zoo if path.startswith(f"{name}/")} == {
            file.name for file in (ROOT / "zoo" / name).iterdir()
        }


def test_the_index_shows_no_link_that_only_a_checkout_has(release: Release) -> None:
    (name,) = [name for name in contents(release.wheel) if name.endswith(".dist-info/METADATA")]
    page = contents(release.wheel)[name].decode()
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert "a single training loop runs all four" in page.lower().replace("\n", " ")
    assert page.count("```") == (ROOT / "README.md").read_text().count("```")
    assert "Description-Content-Type: text/markdown" in page
    for minor in (11, 12, 13, 14):
        assert f"Classifier: Programming Language :: Python :: 3.{minor}\n" in page


def test_the_sdist_has_all_that_builds_and_tests_it(release: Release, tmp_path: Path) -> None:
    """The wheel out of it is, to the byte, the one out of the checkout."""
    build("--wheel", out=tmp_path)
    (direct,) = tmp_path.glob("*.whl")
    assert contents(direct) == contents(release.wheel)
    with tarfile.open(release.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for kept in ("docs/zoo.md", "zoo/build.py", "zoo/recipes.toml", "tests/conftest.py", "bench/serving.py", ".ci/run"):
        assert kept in names
    for kept in ("Makefile", "constraints.txt", "bentofile.yaml", "examples/demo.py", "serving/deploy/Dockerfile"):
        assert kept in names


def test_a_bare_machine_gets_the_client_and_then_a_service_with_the_zoo(
    release: Release, serve: Callable, tmp_path: Path
) -> None:
    home = tmp_path / "clean"
    venv.create(home, with_pip=True)
    programs, elsewhere = home / "bin", tmp_path / "elsewhere"
    elsewhere.mkdir()

    install(programs, str(release.wheel))
    code = f"""
import importlib.util, sys
from gan_client import GanClient
assert callable(GanClient)
for name in {HEAVY!r}:
    assert importlib.util.find_spec(name) is None, name
    assert name not in sys.modules, name
"""
    done = run(programs / "python", "-c", code, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    shown = run(programs / "gan-client", "--help", cwd=elsewhere)
    assert shown.returncode == 0, shown.stderr
    assert "sample" in shown.stdout
    done = run(programs / "python", "-m", "gan_serving.keys", "alice", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert "alice:" in done.stdout
    done = run(programs / "python", "-m", "gan_serving.settings", cwd=elsewhere)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "python -m gan_serving.settings: needs the package 'pydantic_settings'; install it with: "
        "pip install 'ganworks[serve]'\n"
    )
    artifact = ROOT / "zoo" / "mnist-cgan"
    for command in COMMANDS:
        assert run(programs / command, "--version", cwd=elsewhere).stdout == f"{command} {VERSION}\n"
    for command, what in (("gan-train", "--help"), ("gan-export", "--help"), ("gan-verify", artifact)):
        done = run(programs / command, what, cwd=elsewhere)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
        assert "pip install 'ganworks[" in done.stderr

    install(programs, f"{release.wheel}[serve]")
    done = run(programs / "gan-verify", artifact, cwd=elsewhere)
    assert (done.returncode, done.stderr) == (0, "")
    with serve("gan_serving.service:GanService", cwd=elsewhere, programs=programs) as service:
        found = httpx.get(f"{service.url}/models").json()["models"]
        assert sorted(model["name"] for model in found) == ZOO
        command = ("sample", "--n", "64", "--label", "7", "--url", service.url, "--out", "sevens")
        done = run(programs / "gan-client", *command, cwd=elsewhere)
        assert done.returncode == 0, done.stderr
        with Image.open(elsewhere / "sevens" / "sheet.png") as sheet:
            assert sheet.size == (242, 242)
        assert str(ROOT) not in service.log.read_text(), "the checkout was served, not the installed package"


def install(programs: Path, what: str) -> None:
    quick = ("--quiet", "--no-compile", "--disable-pip-version-check")
    done = run(programs / "python", "-m", "pip", "install", *quick, "-c", ROOT / "constraints.txt", what, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def run(program: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False)
