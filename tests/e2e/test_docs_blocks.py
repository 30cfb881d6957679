"""What README.md and docs/client.md show of the client is run as it stands, against a real service."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PAGES = ("README.md", "docs/client.md")
BLOCK_SECONDS = 120
FEWER = (  # images than a reader would want, so that this ends soon
    (r"--n 1000+\b", "--n 30"),
    (r"--each 1000\b", "--each 2"),
    (r"--shard-size 20000\b", "--shard-size 12"),
)


def blocks(page: str, language: str) -> list[Any]:
    """The code blocks of a page, with the line each begins at."""
    text = (ROOT / page).read_text()
    return [
        pytest.param(match[1], id=f"{page}:{text[: match.start()].count(chr(10)) + 2}")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def of_the_client(block: str) -> str:
    """The lines of a shell block that call the service."""
    return "\n".join(line for line in block.splitlines() if line.startswith(("gan-client", "curl")))


PYTHON = [each for page in PAGES for each in blocks(page, "python")]
SHELL = [each for page in PAGES for each in blocks(page, "sh") if of_the_client(each.values[0])]


@pytest.fixture(scope="module")
def url(serve, models: Path) -> Iterator[str]:
    with serve(models=models, default_model="digits") as service:
        yield service.url


def run(command: list[str], url: str, cwd: Path) -> None:
    environment = os.environ | {"GAN_URL": url, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=BLOCK_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_something_to_run() -> None:
    assert len(PYTHON) >= 10
    assert len(SHELL) >= 3


@pytest.mark.parametrize("block", PYTHON)
def test_python_runs(block: str, url: str, tmp_path: Path) -> None:
    run([sys.executable, "-W", "error", "-c", block.replace("http://localhost:3000", url)], url, tmp_path)


@pytest.mark.parametrize("block", SHELL)
def test_commands_run(block: str, url: str, tmp_path: Path) -> None:
    script = of_the_client(block).replace("localhost:3000", url.removeprefix("http://"))
    for many, few in FEWER:
        script = re.sub(many, few, script)
    run(["bash", "-euo", "pipefail", "-c", script], url, tmp_path)
    assert any(tmp_path.iterdir()), "it wrote nothing"
