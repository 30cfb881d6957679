"""Runs that are too large for the machine end in one line that says what to make smaller.

In processes of their own: what was refused memory in the middle of its work may end a process much later.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the memory of a process is looked up in /proc"
)

LIMIT = """
import resource, sys
from pathlib import Path
{imports}
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + {left}
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""
TRAIN = """
sys.exit(main(sys.argv[1:]))
"""
COMPARE = """
data = ImageData(torch.zeros(6000, 3, 128, 128, dtype=torch.uint8), None, (), "toy")
ratio, _ = MemorisationCheck(data).check(data.images[:8])
assert ratio == 1
"""
COMPARED = """
import torch
from gan_training.data import ImageData
from gan_training.watch.memorisation import MemorisationCheck
"""
DATA_BYTES = 6000 * 3 * 128**2


def run(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    "large",
    [
        ["--batch-size", "65536"],
        ["--batch-size", "1024"],
        ["--set", "generator_width=2048", "--set", "max_width=8192"],
    ],
    ids=lambda large: large[1],
)
def test_a_run_too_large_for_memory_names_what_takes_it(tmp_path: Path, large: list[str]):
    np.savez(tmp_path / "data.npz", images=np.zeros((8, 128, 128), np.uint8))
    code = LIMIT.format(imports="import torch\nfrom gan_training.cli.train import main", left=2**29) + TRAIN
    given = ["--type", "dcgan", "--data", "npz:data.npz", "--steps", "1", "--device", "cpu", "--set", "report=false"]
    done = run(code, *given, *large, "--out", "run", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    said = done.stderr.splitlines()[-1]
    batch = large[1] if large[0] == "--batch-size" else "64"
    width = "2048" if large[0] == "--set" else "64"
    assert said.startswith(f"gan-train: not enough memory: batch_size is {batch}, generator_width {width}, ")
    assert "give a smaller --batch-size" in said
    assert "Traceback" not in done.stderr


def test_copies_are_looked_for_in_parts_of_the_images(tmp_path: Path) -> None:
    """As floats all at once they would take 1.1 GiB."""
    done = run(LIMIT.format(imports=COMPARED, left=3 * 2**28 + DATA_BYTES) + COMPARE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
