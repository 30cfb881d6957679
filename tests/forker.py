"""The process from which tests/commands.py has commands started: it has imported torch and the exporter, and forks.

    python tests/forker.py SOCKET

A connection is one process: its program, arguments, folder and environment come in as JSON with three descriptors, its
streams; its number and then how it ended go out. A client that hangs up before has it killed. A connection that says
HOLD is one of those that this process is there for: when none is left, it ends.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from fork_client import HEADER_BYTES

PRELOADED = [
    *("gan_training.cli.train", "gan_training.cli.evaluate"),
    *("gan_export.cli.export", "gan_export.cli.verify", "gan_client.program"),
    # What these import when they get to it: a report, latents, an optimiser, an exporter.
    *("gan_training.pages.report", "scipy.special"),
    *("torch._dynamo", "torch.export._trace", "torch.onnx._internal.exporter._core", "onnxscript.rewriter"),
    "onnxscript.function_libs.torch_lib.ops",
]
HOLD = b"hold\n"
BIN = str(Path(sys.executable).parent)
WAIT_SECONDS = 60  # for the first who holds it
STREAMS = 3


def receive(client: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """What a process is to be, with its streams; None for a client that holds this process, or has gone already."""
    size, ancillary, _, _ = client.recvmsg(HEADER_BYTES, socket.CMSG_SPACE(STREAMS * array.array("i").itemsize))
    files = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    if len(files) < STREAMS:
        return None
    with client.makefile("rb") as stream:
        return json.loads(stream.read(int(size))), list(files)


def become(what: dict[str, Any], files: list[int]) -> NoReturn:
    """In the new process: be that program, and end as Python does but for taking torch down in order."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, closefd=False, encoding="utf-8", errors="backslashreplace")
    os.environ.clear()
    os.environ.update(what["env"])
    sys.argv, sys.executable = what["argv"], what["python"]
    try:
        os.chdir(what["cwd"])
        code = exit_code(run, what["program"])
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:  # noqa: BLE001  # such as a pipe that nobody reads
        traceback.print_exc()
        code = 120
    os._exit(code)


def run(program: str) -> None:
    """A command of ours, a module (`-m NAME`, as with -P), a text (`-c TEXT`) or a script (PATH.py)."""
    if program.startswith("-m "):
        del sys.path[0]
        sys.modules.pop(program[3:], None)
        runpy.run_module(program[3:], run_name="__main__", alter_sys=True)
    elif program.startswith("-c "):
        sys.path[0] = ""
        sys.modules["__main__"] = module = ModuleType("__main__")
        exec(compile(program[3:], "<string>", "exec"), module.__dict__)
    elif program.endswith(".py"):
        sys.path[0] = str(Path(program).parent)
        runpy.run_path(program, run_name="__main__")
    else:
        sys.path[0] = BIN
        (entry,) = entry_points(group="console_scripts", name=program)
        sys.exit(entry.load()())


def exit_code(function: Any, *arguments: Any) -> int:
    """With which a process ends whose main program this is."""
    try:
        function(*arguments)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        return 1
    return 0


class Forker:
    """Who runs, and for whom; single-threaded, so that what it forks is whole."""

    def __init__(self, path: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{path}.part")
        self.listener.listen(64)
        Path(f"{path}.part").rename(path)  # who sees it can connect
        self.selector = selectors.DefaultSelector()
        self.running: dict[int, socket.socket] = {}
        self.holding: set[socket.socket] = set()

    def serve(self) -> None:
        """Until nobody holds it any more."""
        ended, waker = socket.socketpair()
        for end in (ended, waker):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for each in (ended, self.listener):
            self.selector.register(each, selectors.EVENT_READ)
        held = False
        while self.holding or not held:
            ready = self.selector.select(None if held else WAIT_SECONDS)
            if not ready and not held:
                return
            for key, _ in ready:
                client = key.fileobj
                assert isinstance(client, socket.socket)
                if client is ended:
                    ended.recv(4096)
                elif client is self.listener:
                    self.accept()
                else:
                    self.hear(client)
            self.reap()
            held = held or bool(self.holding)

    def accept(self) -> None:
        client, _ = self.listener.accept()
        try:
            asked = receive(client)
        except (OSError, ValueError):  # it was killed before it had said all
            client.close()
            return
        self.selector.register(client, selectors.EVENT_READ)
        if asked is None:
            self.holding.add(client)
            return
        pid = os.fork()
        if pid == 0:
            self.leave()
            become(*asked)
        for file in asked[1]:
            os.close(file)
        self.running[pid] = client
        tell(client, pid)

    def leave(self) -> None:
        """In the new process: nothing of this one's is open or set any more."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for key in list(self.selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self.selector.close()

    def hear(self, client: socket.socket) -> None:
        """It wants its process killed, or has hung up, which kills it too."""
        try:
            message = client.recv(64)
        except ConnectionError:  # hung up before it had read all
            message = b""
        for pid in [pid for pid, owner in self.running.items() if owner is client]:
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so that the number is nobody else's
        if not message:
            self.holding.discard(client)
            self.selector.unregister(client)
            client.close()

    def reap(self) -> None:
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            tell(self.running.pop(pid), os.waitstatus_to_exitcode(status))


def tell(client: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # it has hung up
        client.sendall(f"{number}\n".encode())


def remember_operators() -> None:
    """torch.onnx.export has the source of 500 functions read each time, for what is the same each time."""
    from torch.onnx._internal._lazy_import import onnxscript_apis

    onnxscript_apis.get_torchlib_ops = functools.cache(onnxscript_apis.get_torchlib_ops)


def warm_up() -> None:
    """What makes a process's first capture take 4 s, and the next ones one."""
    import torch
    from torch import nn
    from tqdm import tqdm

    from gan_export.capture import capture

    tqdm.monitor_interval = 0  # no thread of its own
    remember_operators()
    with torch.random.fork_rng():
        layers = (nn.Linear(4, 16), nn.Unflatten(1, (4, 2, 2)), nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.BatchNorm2d(1))
        capture(nn.Sequential(*layers, nn.ReLU(), nn.Tanh()).eval(), 4, 0)


def main(path: str) -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    warm_up()
    assert threading.active_count() == 1, "threads don't survive a fork, and what they hold stays locked"
    gc.collect()
    gc.freeze()
    Forker(path).serve()
    folder = Path(path).parent
    folder.with_suffix(".lock").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(sys.argv[1])
