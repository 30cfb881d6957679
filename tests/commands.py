"""Programs as real processes, started by fork from one that has imported torch and its exporter already (forker.py).

Most of what a command costs is to start Python and import torch: 2 to 5 seconds of each. What runs is a process of its
own all the same, with its own arguments, environment, folder, streams, limits and exit code, and the entry point is the
installed one. So it is with the processes that our commands start: tests whose `sys.executable` is `python_shim()` have
them forked too. Tests that start the installed file (of signals, limits, releases) do so by Popen.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO

from filelock import FileLock
from fork_client import ask, told
from forker import HOLD

FORKED = ("gan-train", "gan-eval", "gan-export", "gan-verify", "gan-client")
FORKED_MODULES = ("gan_export.intake.reader", "gan_export.artifact.probe", "gan_export.graphs.probe")
SECONDS = 300
PYTHON = sys.executable
HERE = Path(__file__).parent
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
FOLDER = Path(tempfile.gettempdir()) / f"ganworks-tests-{_RUN}"
"""Of all test processes of this run: where the forker listens, and what stands in for commands and Python."""
SHIMS = FOLDER / "bin"
LOCK = FOLDER.with_suffix(".lock")


@lru_cache
def _forker() -> tuple[Path, socket.socket]:
    """Where it listens; started by the first test process that asks, and there until the last one ends."""
    path = FOLDER / "forker"
    with FileLock(LOCK):
        if not path.exists():
            FOLDER.mkdir(0o700, exist_ok=True)
            log = FOLDER / "log"
            pid = os.posix_spawn(
                PYTHON,
                [PYTHON, str(HERE / "forker.py"), str(path)],
                os.environ | {"OMP_NUM_THREADS": "1"},  # same thread count, same bits
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,  # another test process may need it longer than this one
            )
            while not path.exists():  # then all is imported, and processes can be timed
                assert os.waitpid(pid, os.WNOHANG) == (0, 0), log.read_text()
                time.sleep(0.05)
        holder = socket.socket(socket.AF_UNIX)
        holder.connect(str(path))
        holder.sendall(HOLD)
    return path, holder


class Forked:
    """A process of the forker's, as Popen has it."""

    def __init__(
        self,
        program: str,
        arguments: Sequence[object] = (),
        *,
        cwd: Path | str = ".",
        env: Mapping[str, str] | None = None,
        streams: Sequence[int] = (),
    ) -> None:
        """A command of FORKED, `-m MODULE`, `-c TEXT` or a script; streams: stdin, stdout, stderr, else /dev/null."""
        path, _ = _forker()
        python_shim()  # what the process has for Python
        where, environment = str(Path(cwd).absolute()), os.environ if env is None else env
        self.args = [program, *map(str, arguments)]
        with Path(os.devnull).open("r+b") as nothing:
            files = [*streams] or [nothing.fileno()] * 3
            self.client = ask(str(path), program, self.args[1:], where, environment, files)
        self.pid, self.returncode = told(self.client), None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.001)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that ended it."""
        if self.returncode is None:
            self.client.settimeout(timeout)
            try:
                self.returncode = told(self.client)
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self.client.close()
        return self.returncode

    def close(self) -> None:
        """Let go of it, which kills it where it still runs."""
        self.client.close()

    def kill(self) -> None:
        if self.poll() is None:
            self.client.sendall(b"kill\n")


def run_forked(
    command: str, arguments: Sequence[object], cwd: Path, env: Mapping[str, str], seconds: float = SECONDS
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run of one of FORKED, with its output; ends it after so many seconds, and raises then."""
    with tempfile.TemporaryFile() as nothing, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        streams = [file.fileno() for file in (nothing, output, errors)]
        process = Forked(command, arguments, cwd=cwd, env=env, streams=streams)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise subprocess.TimeoutExpired(command, seconds, _text(output), _text(errors)) from None
        assert process.returncode is not None
        return subprocess.CompletedProcess(
            process.args, process.returncode, _text(output).decode(), _text(errors).decode()
        )


def _text(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


SHIM = """#!{python} -IS
import os, sys
sys.path.insert(0, {here!r})
from fork_client import stand_in
program, arguments = {program!r}, sys.argv[1:]
if program is None and arguments[:2] == ["-P", "-m"] and arguments[2:3] and arguments[2] in {modules!r}:
    program, arguments = "-m " + arguments[2], arguments[3:]
elif program is None and arguments[:1] and arguments[0].endswith(".py"):
    program, arguments = os.path.abspath(arguments[0]), arguments[1:]
if program is None:
    os.execv({python!r}, [{python!r}, *arguments])
stand_in({path!r}, program, arguments)
"""


@lru_cache
def python_shim() -> Path:
    """Stands in for Python: forks scripts and what is in FORKED_MODULES, and is Python for all else.

    Beside it are the commands of FORKED, which are forked, and all others as they are.
    """
    path, _ = _forker()
    with FileLock(LOCK):
        if not SHIMS.exists():
            making = SHIMS.with_suffix(".part")
            making.mkdir()
            for name in ("python", *FORKED):
                shim, program = making / name, None if name == "python" else name
                names = {"python": PYTHON, "here": str(HERE), "path": str(path), "modules": FORKED_MODULES}
                shim.write_text(SHIM.format(program=program, **names))
                shim.chmod(0o755)
            for other in Path(PYTHON).parent.iterdir():
                if not (making / other.name).exists():
                    (making / other.name).symlink_to(other)
            making.rename(SHIMS)
    return SHIMS / "python"
