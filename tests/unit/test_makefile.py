"""What make says where it can't go on."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OLD = "#!/bin/sh\nexit 1\n"  # as a Python that is asked whether it is new enough, or a name that runs nothing
NEW = "#!/bin/sh\n"
WITHOUT_PIP = '#!/bin/sh\ncase "$*" in *pip*) exit 1; esac\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [shutil.which("make") or "make", "--no-print-directory", *arguments]
    options = {"env": environment} if environment else {}
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, **options)


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What it says, without make's own line on the target that failed."""
    return [line for line in done.stderr.splitlines() if "***" not in line]


def test_an_old_python_makes_no_environment(checkout: Path) -> None:
    old = program(checkout / "python3", OLD)
    done = make(checkout, "setup", f"PYTHON={old}")
    assert done.returncode != 0
    assert complaints(done) == [f"make: {old} is not Python 3.11 or newer; name another: make setup PYTHON=..."]
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("runs", ["python3.11", "python3"])
def test_the_first_python_that_runs_and_is_new_enough_is_taken(checkout: Path, runs: str) -> None:
    programs = {name: program(checkout / "bin" / name, OLD) for name in ("python3.11", "python3.12", "python3")}
    new = program(programs[runs], NEW)
    done = make(checkout, "--dry-run", "setup", PATH=str(checkout / "bin"))
    assert done.returncode == 0, done.stderr
    assert f"{new} -m venv .venv" in done.stdout


def test_where_none_will_do_the_first_is_named(checkout: Path) -> None:
    old = [program(checkout / "bin" / name, OLD) for name in ("python3.12", "python3")]
    done = make(checkout, "setup", PATH=str(checkout / "bin"))
    assert complaints(done) == [f"make: {old[0]} is not Python 3.11 or newer; name another: make setup PYTHON=..."]


@pytest.mark.parametrize("found", [OLD, WITHOUT_PIP], ids=["old", "without pip"])
def test_an_environment_that_will_not_do_is_told_with_what_helps(checkout: Path, found: str) -> None:
    program(checkout / ".venv" / "bin" / "python", found)
    done = make(checkout, "setup")
    assert done.returncode != 0
    assert complaints(done) == ["make: .venv has no pip, or a Python older than 3.11; make clean deletes it"]
    assert make(checkout, "clean").returncode == 0
    assert not (checkout / ".venv").exists()


def test_a_missing_browser_is_no_reason_to_stop_but_in_ci(checkout: Path) -> None:
    programs = checkout / "bin"
    programs.mkdir()
    assert make(checkout, "browser", PATH=str(programs)).returncode == 0
    done = make(checkout, "browser", "REQUIRE_BROWSER=1", PATH=str(programs))
    assert done.returncode != 0
    assert complaints(done) == ["make: no Chromium, and apt can't install it: tests/browser can't run"]
    program(programs / "chromium", OLD)
    assert make(checkout, "browser", "REQUIRE_BROWSER=1", PATH=str(programs)).returncode == 0
    assert "make test REQUIRE_BROWSER=1" in (ROOT / ".ci" / "run").read_text()


def test_clean_leaves_nothing_that_was_made_but_what_people_made(checkout: Path) -> None:
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    made = [name for name in ignored if "*" not in name and name not in ("runs", "models", "samples", "__pycache__")]
    for name in [*made, "models", "runs"]:
        (checkout / name).mkdir()
    assert make(checkout, "clean").returncode == 0
    assert not [name for name in made if (checkout / name).exists()]
    assert (checkout / "models").exists()
    assert (checkout / "runs").exists()
