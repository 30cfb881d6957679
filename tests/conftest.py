"""Our commands and the service as real processes, for the tests of whole paths and of faults."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import FORKED, python_shim, run_forked
from filelock import FileLock
from forker import remember_operators
from ports import free_port
from waiting import until_ready

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 30
MARK = "TEST_SERVICE_PORT"
"""In the environment of a service, and so of all its processes."""
SHELL = (
    "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES", "TERMINAL_WIDTH",
    "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy",
)  # fmt: skip
"""What a developer's shell or CI says of terminals, and of a way to the services that tests start."""


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart() -> None:
    """Whatever the environment says of our programs stays outside; tests say themselves what they need."""
    for name in [name for name in os.environ if name.startswith("GAN_") or name in SHELL]:
        del os.environ[name]


@dataclass(frozen=True)
class Service:
    """A running `bentoml serve`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def pids(self) -> list[int]:
        """All processes of the service, itself included: workers have sessions of their own, but its environment."""
        mark = f"{MARK}={self.port}\0".encode()
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in environment.read_bytes():
                    found.append(int(environment.parent.name))
        return found

    def workers(self) -> list[int]:
        """Those that answer requests."""
        found = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                if b"_bentoml_impl.worker.service" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found


ServeFn = Callable[..., "contextlib.AbstractContextManager[Service]"]


MakeOnceFn = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnceFn:
    """A folder that the first test process to ask for it fills, and that all read: `make_once(name, fill)`."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of this run's processes

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of another process that failed
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """With which exit code a test process ended that should not have, or minus the signal that ended it."""
    if error:
        process = node.gateway._io.popen
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        print(f"\n{node.gateway.id} ended with {process.returncode}: {error}", file=sys.stderr)


@pytest.fixture(scope="session")
def quick_exports() -> None:
    """Exports in this process, for the rest of its life: the processes that they start are forked (commands.py)."""
    sys.executable = str(python_shim())
    remember_operators()


@pytest.fixture(scope="session")
def run_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one of our commands to its end, without raising."""

    def run(
        command: str, *arguments: object, cwd: Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | (env or {})
        if command in FORKED and not any(name.startswith("PYTHON") for name in env or {}):  # read when Python starts
            return run_forked(command, [*map(str, arguments)], cwd, environment)
        return subprocess.run(
            [BIN / command, *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> ServeFn:
    """Start `bentoml serve`, wait until it is ready; at the end stop it and look that nothing is left of it.

    With `wait=False` it is not waited for.
    """

    @contextlib.contextmanager
    def start(
        *arguments: str,
        cwd: Path = ROOT,
        home: Path | None = None,
        programs: Path = BIN,
        wait: bool = True,
        **settings: object,
    ) -> Iterator[Service]:
        home = home or tmp_path_factory.mktemp("bentoml")
        port, log = free_port(), tmp_path_factory.mktemp("log") / "serve.log"
        environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true", MARK: str(port)}
        environment |= {f"GAN_{name.upper()}": str(value) for name, value in settings.items()}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [programs / "bentoml", "serve", *arguments, "--port", str(port)],
                cwd=cwd,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        service = Service(f"http://127.0.0.1:{port}", process, log)
        try:
            if wait:
                until_ready(service.url, service.process, service.log)
            yield service
        finally:
            left = stop(service)
        assert not left, f"processes were left behind: {left}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("0.0.0.0", port))

    return start


def stop(service: Service) -> list[int]:
    """Ask it to end, as an operator would; what is left after that is killed, told, and the test fails."""
    if service.process.poll() is None:
        service.process.terminate()
    try:
        service.process.wait(STOP_SECONDS)
    finally:
        left = service.pids()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return left
