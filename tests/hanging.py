"""A file whose file system hangs, with nothing replaced."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import PYTHON

LEASE = Path(__file__).with_name("lease.py")


@contextlib.contextmanager
def hanging(path: Path) -> Iterator[threading.Event]:
    """Whoever opens the file meanwhile waits, as on a network file system whose server is gone.

    The kernel waits for the holder of a lease (lease.py), for 45 s unless an administrator changed that.

    Yields:
        An event that is set when somebody waits.
    """
    waits = threading.Event()
    command = [PYTHON, "-IS", str(LEASE), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        said = holder.stdout.readline().strip()
        assert said, "lease.py said nothing"
        if said != "holds":
            pytest.skip(f"needs a file system with leases: {said}")

        def listen(lines: Iterator[str]) -> None:
            if "waits\n" in lines:
                waits.set()

        listener = threading.Thread(target=listen, args=(holder.stdout,))
        listener.start()
        try:
            yield waits
        finally:
            holder.stdin.close()
            listener.join()
