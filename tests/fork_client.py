"""How a process is asked of the forker (forker.py): by tests, and by the programs that stand in for our commands.

Those are a line that calls `stand_in`; they have to start in no time, so nothing of weight is imported here.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import NoReturn

HEADER_BYTES = 8  # before the JSON, its length in decimal digits


def ask(
    path: str, program: str, arguments: Sequence[str], cwd: str, env: Mapping[str, str], files: Sequence[int]
) -> socket.socket:
    """Have the process started with these streams; whoever closes the connection before its end kills it."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    python = os.path.join(os.path.dirname(path), "bin", "python")  # noqa: PTH118, PTH120  # pathlib takes 10 ms
    what = {"program": program, "argv": [program, *arguments], "cwd": cwd, "env": dict(env), "python": python}
    text = json.dumps(what).encode()
    socket.send_fds(client, [f"{len(text):{HEADER_BYTES}}".encode()], [*files])
    client.sendall(text)
    return client


def told(client: socket.socket) -> int:
    """A line of the forker's: the process's number, then its exit code, or minus the signal that ended it."""
    digits = b""
    while not digits.endswith(b"\n"):
        digits += client.recv(1) or b"?\n"
    return int(digits)


def stand_in(path: str, program: str, arguments: Sequence[str]) -> NoReturn:
    """Be that program, to whoever started this process."""
    client = ask(path, program, arguments, os.getcwd(), os.environ, [0, 1, 2])  # noqa: PTH109
    told(client)
    code = told(client)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
