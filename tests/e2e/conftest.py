"""Real artifacts and real services for the end-to-end tests."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 90
STEP_SECONDS = 120
STOP_SECONDS = 30


@dataclass(frozen=True)
class Service:
    """A running `bentoml serve`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def pids(self) -> list[int]:
        """All processes of the service, itself included: it leads its own session."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[3]) == self.process.pid:
                    found.append(int(stat.parent.name))
        return found


ServeFn = Callable[..., "contextlib.AbstractContextManager[Service]"]


@pytest.fixture(scope="session")
def run_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one of our commands to its end, without raising."""

    def run(
        command: str, *arguments: object, cwd: Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / command, *map(str, arguments)],
            cwd=cwd,
            env=os.environ | (env or {}),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def models(
    tmp_path_factory: pytest.TempPathFactory, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> Path:
    """A folder with two artifacts: `digits`, conditional and grey, and `colours`, unconditional and RGB."""
    work = tmp_path_factory.mktemp("models")
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    np.savez(work / "colours.npz", images=images)
    for name, gan_type, data in (("digits", "cgan", "digits"), ("colours", "dcgan", "npz:colours.npz")):
        for command in (
            ("gan-train", "--type", gan_type, "--data", data, "--out", f"runs/{name}", "--steps", 40),
            ("gan-export", f"runs/{name}/ckpt.pt"),
        ):
            done = run_command(*command, cwd=work)
            assert done.returncode == 0, done.stderr
    return work / "models"


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> ServeFn:
    """Start `bentoml serve`, wait until it is ready; at the end stop it and look that nothing is left of it."""

    @contextlib.contextmanager
    def start(*arguments: str, cwd: Path = ROOT, home: Path | None = None, **settings: object) -> Iterator[Service]:
        home = home or tmp_path_factory.mktemp("bentoml")
        port, log = free_port(), home / "serve.log"
        environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
        environment |= {f"GAN_{name.upper()}": str(value) for name, value in settings.items()}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [BIN / "bentoml", "serve", *arguments, "--port", str(port), "--timeout-graceful-shutdown", "10"],
                cwd=cwd,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        service = Service(f"http://127.0.0.1:{port}", process, log)
        try:
            wait_until_ready(service)
            yield service
        finally:
            stop(service)
        assert not service.pids(), f"processes were left behind: {service.pids()}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("0.0.0.0", port))

    return start


@pytest.fixture(scope="session")
def wait_for_step() -> Callable[[subprocess.Popen[str], Path, int], None]:
    """Until the run's metrics.jsonl has a line of that step or a later one; fails when its process ends before."""

    def wait(process: subprocess.Popen[str], out: Path, step: int) -> None:
        end = time.monotonic() + STEP_SECONDS
        while time.monotonic() < end:
            path = out / "metrics.jsonl"
            # The last line may be half written.
            lines = path.read_text().split("\n")[:-1] if path.exists() else []
            if lines and json.loads(lines[-1])["step"] >= step:
                return
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"training ended early: {process.communicate()}")
        pytest.fail(f"no step {step} after {STEP_SECONDS} s")

    return wait


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(service: Service) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and service.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{service.url}/readyz").status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail(f"the service did not become ready:\n{service.log.read_text()}")


def stop(service: Service) -> None:
    service.process.terminate()
    try:
        service.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in service.pids():
            os.kill(pid, signal.SIGKILL)
        service.process.wait()
        raise
