"""gan-export on files that mean harm, as a process: one line, nothing is run or written, and little memory taken."""

import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pickles import Call, Stored, pickled

pytestmark = pytest.mark.slow

SECONDS = 60
MAX_RSS_KIB = 1_000_000
ZEROS = 512 * 1024 * 1024  # bytes that a bomb unpacks to

# Runs gan-export and prints what it and its children took at most, in KiB.
MEASURED = """
import resource, subprocess, sys
done = subprocess.run([sys.argv[1], *sys.argv[2:]], capture_output=True, text=True)
sys.stdout.write(done.stdout)
sys.stderr.write(done.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def archive(path: Path, data: bytes, storage: bytes = bytes(64), compression: int = zipfile.ZIP_STORED) -> None:
    """As torch.save lays it out."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in {"data.pkl": data, "byteorder": b"little", "data/0": storage, "version": b"3\n"}.items():
            file.writestr(f"archive/{name}", content)


def tensor_of(numel: int) -> bytes:
    """A state dict of one tensor with so many values, whatever is stored."""
    storage = Stored("storage", torch.FloatStorage, "0", "cpu", numel)
    tensor = Call(torch._utils._rebuild_tensor_v2, storage, 0, (numel // 4, 4), (4, 1), False, {})
    return pickled({"l1.weight": tensor})


def command_in_state_dict(path: Path) -> None:
    archive(path, pickle.dumps({"l1.weight": Call(os.system, "touch marker")}, 2))


def command_by_source(path: Path) -> None:
    """As StyleGAN's pickles do: they carry the source of their classes and run it."""
    source = "open('marker', 'w').close()"
    path.write_bytes(pickle.dumps({"G_ema": Call(exec, source), "training_set_kwargs": {}}, 4))


def tensor_of_100_gigabytes(path: Path) -> None:
    archive(path, tensor_of(25 * 10**9))


def bomb(path: Path) -> None:
    archive(path, tensor_of(ZEROS // 4), bytes(ZEROS), zipfile.ZIP_DEFLATED)


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "command in a state dict": (command_in_state_dict, "system"),
    "pickle with source code": (command_by_source, "is a plain pickle (as StyleGAN's .pkl), which carries code"),
    "100 GB tensor": (tensor_of_100_gigabytes, "100"),
    "zip bomb": (bomb, "compressed"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_in_one_line(name: str, tmp_path: Path):
    make, reason = FILES[name]
    make(tmp_path / "netG.pth")
    command = [sys.executable, "-c", MEASURED, Path(sys.executable).parent / "gan-export", "netG.pth"]
    hostile = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | hostile, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("gan-export: netG.pth: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert reason in done.stderr
    assert int(done.stdout) < MAX_RSS_KIB  # and nothing else is printed
    assert [path.name for path in tmp_path.iterdir()] == ["netG.pth"]
