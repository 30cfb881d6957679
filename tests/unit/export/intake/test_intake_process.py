"""The process that unpickles: its limits, its end, and what it does with a file that no audit has seen."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from gan_export.graphs.reading import GraphLimits
from gan_export.intake import Limits, _reason
from gan_export.untrusted.confined import MIB
from gan_export.untrusted.temporary import no_room


def test_the_process_runs_no_code_even_of_a_file_that_nobody_audited(write_zip, pickled, call, tmp_path):
    marker = tmp_path / "ran"
    path = write_zip(pickled({"w": call(os.system, f"touch {marker}")}))
    target = tmp_path / "tensors"
    command = [sys.executable, "-P", "-m", "gan_export.intake.reader", path, target, *("100000000", "100", "60")]
    environment = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "UnpicklingError" in done.stderr
    assert not marker.exists()
    assert not target.exists()
    os.system(f"touch {marker}")
    assert marker.exists(), "the call would have left its mark"


def test_a_process_that_takes_too_long_or_too_much_is_ended(tmp_path, refusal):
    path = tmp_path / "weights.pt"
    torch.save({"w": torch.ones(4096, 4096).t()}, path)
    assert "within 1 s; try again when the machine is less busy" in refusal(path, Limits(seconds=1))
    assert "takes more than 16 MiB of memory" in refusal(path, Limits(memory_bytes=16 * 2**20))


def test_the_guide_tells_what_a_file_may_take():
    file, graph = Limits(), GraphLimits()
    assert file.seconds == graph.seconds
    assert (
        f"| more than {file.max_file_bytes // MIB // 1024} GiB (PyTorch's format before 1.6: about "
        f"{file.memory_bytes // MIB} MiB; ONNX: {graph.max_file_bytes // MIB} MiB), or {file.seconds} seconds to read |"
    ) in (Path(__file__).parents[4] / "docs" / "bring-your-own.md").read_text()


def test_a_full_folder_of_temporary_files_and_a_kill_are_told_from_damage(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"w": torch.ones(2**20)}, path)
    command = [sys.executable, "-P", "-m", "gan_export.intake.reader", path, "/dev/full", str(2**30), str(2**30), "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wanted = f"can't be copied: there is not enough space in {tempfile.gettempdir()}; set TMPDIR to another folder"
    assert _reason(done, Limits()) == wanted
    code = "import os, signal; print('ready', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left") as caught:
        full.write(b"1")
    assert no_room(caught.value) == wanted
    assert "was killed (signal 9), probably because the machine ran out of memory" in _reason(done, Limits())


READ_BOUNDED = """
import resource, sys
from pathlib import Path
from gan_export.refusal import IntakeError
from gan_export.intake import read_contents
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    read_contents(Path(sys.argv[1]))
except IntakeError as error:
    print(error)
"""


def test_a_copy_that_finds_no_room_says_so(tmp_path, scratch):
    path = tmp_path / "weights.pt"
    torch.save({"w": torch.ones(2**20)}, path)
    done = subprocess.run([sys.executable, "-B", "-c", READ_BOUNDED, path], capture_output=True, text=True, check=False)
    wanted = f"can't be copied to {scratch}: larger than this shell allows files to be; raise ulimit -f"
    assert done.stdout == f"{path}: {wanted}\n"


def test_ctrl_c_leaves_no_files_and_no_process(tmp_path, scratch):
    path = tmp_path / "weights.pt"
    torch.save({"w": torch.ones(8)}, path)
    code = f"from pathlib import Path; from gan_export.intake import read_contents; read_contents(Path({str(path)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    child = ""
    while not child and process.poll() is None and time.monotonic() < deadline:
        child = children.read_text().strip()
        time.sleep(0.01)
    assert child, "the reading process was never seen"
    assert [*scratch.iterdir()], "the private copy was never seen"
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert not [*scratch.iterdir()]
    with pytest.raises(ProcessLookupError):
        os.kill(int(child), 0)
