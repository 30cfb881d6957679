"""Our commands as real processes, started by fork from one that has imported torch and its exporter already.

Most of what a command costs is to start Python and import torch: 2 to 5 seconds of each. The process that runs is one
of its own all the same, with its own arguments, environment, folder, streams and exit code, and the entry point is the
installed one. Tests that start the installed file (of signals, limits, pages of docs/ and releases) do so by Popen.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from multiprocessing.context import ForkServerContext
from pathlib import Path
from threading import Lock
from typing import IO

FORKED = ("gan-train", "gan-eval", "gan-export", "gan-verify")
PRELOADED = [
    *("gan_training.cli", "gan_training.eval_cli", "gan_export.cli", "gan_export.verify_cli"),
    # What these import when they get to it: an optimiser, an exporter.
    *("torch._dynamo", "torch.export._trace", "torch.onnx._internal.exporter._core", "onnxscript.rewriter"),
]
SECONDS = 300
_starting = Lock()


def forkserver() -> ForkServerContext:
    """Starts processes that have imported all, and compute on one thread: same thread count, same bits."""
    with _starting:  # fixtures make several things side by side
        return _forkserver()


@lru_cache
def _forkserver() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=os.getpid)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported
    try:
        process.start()
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
    process.join()  # now all is imported, and later processes can be timed
    return context


def run_forked(
    command: str, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], seconds: float = SECONDS
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run of one of FORKED, with its output; ends it after so many seconds, and raises then."""
    with tempfile.TemporaryFile("w+b") as output, tempfile.TemporaryFile("w+b") as errors:
        paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (output, errors)]
        process = forkserver().Process(target=_become, args=(command, arguments, str(cwd), dict(env), paths))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, seconds, _text(output), _text(errors))
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            [command, *arguments], process.exitcode, _text(output).decode(), _text(errors).decode()
        )


def _text(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _become(command: str, arguments: Sequence[str], cwd: str, env: dict[str, str], streams: Sequence[str]) -> None:
    """In the new process: be that command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores it
    for number, path in enumerate(streams, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [command, *arguments]
    (entry,) = entry_points(group="console_scripts", name=command)
    entry.load()()
