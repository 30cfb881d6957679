"""A process of its own for a file that nobody vouches for: a bare environment, bounds, and words for how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .messages import shown
from .temporary import no_room

MIB: Final = 1024 * 1024
# Of the environment. TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD and the like are not in it.
_KEPT: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
)
_OUT_OF_MEMORY: Final = ("MemoryError", "bad_alloc", "annot allocate memory", "an't allocate memory")


def run_confined(
    module: str, arguments: Sequence[str], seconds: int, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a module of this package that calls `limit`, and prints a line before it touches the file.

    Args:
        module: its name.
        arguments: of its command line.
        seconds: after which it is ended.
        variables: of the environment, beside the few that are kept.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],
        env=environment | dict(variables or {}),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )


def limit(memory_bytes: int, file_bytes: int, seconds: int, spare_bytes: int = 0) -> None:
    """Bound what this process may take from here on, beyond the libraries that it has loaded; memory on Linux only.

    `spare_bytes`: by which `allow_more` may raise the bound of memory.
    """
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        pages = Path("/proc/self/statm")
        if pages.exists():
            used = int(pages.read_text().split()[0]) * resource.getpagesize()
            bound = used + memory_bytes
            resource.setrlimit(resource.RLIMIT_AS, (bound, bound + spare_bytes))


def allow_more(nbytes: int) -> None:
    """Raise the bound of memory, where there is one."""
    if sys.platform != "win32":
        import resource

        bound, most = resource.getrlimit(resource.RLIMIT_AS)
        if bound != resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_AS, (min(bound + nbytes, most), most))


def explain_failure(
    done: subprocess.CompletedProcess[str], stage: str, out_of_memory: str, instead: str = "", otherwise: str = ""
) -> str:
    """Why a confined process failed, in our own words.

    Args:
        done: the process.
        stage: what was to be done with the file as it failed, e.g. `read`; empty if it had not started yet.
        out_of_memory: what to say where its bound of memory was too little.
        instead: what else to do where the machine's memory was too little, beside ending other programs.
        otherwise: what to say where it ended by an error of another kind; empty: the error's own last line.
    """
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    if not stage:
        return f"can't be read: the reading process did not start: {shown(last)}"
    if any(sign in done.stderr for sign in _OUT_OF_MEMORY):
        return out_of_memory
    if full := no_room(done.stderr):
        return full
    if done.returncode == -signal.SIGKILL:
        return (
            f"can't be {stage}: the process was killed (signal 9), probably because the machine ran out of memory; end "
            f"other programs{instead}"
        )
    if done.returncode < 0:
        return f"is damaged: the process in which it was to be {stage} was ended by signal {-done.returncode}"
    return otherwise or f"can't be {stage}: {shown(last)}"
