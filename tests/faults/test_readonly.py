"""The service as the image runs it: not as root, and with one folder that it may write to."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from commands import PYTHON
from ports import free_port
from waiting import until_ready

from gan_export.artifact import draw, open_session, run_session
from gan_export.package.export import Exported

pytestmark = pytest.mark.slow

DOCKERFILE = Path(__file__).resolve().parents[2] / "serving" / "deploy" / "Dockerfile"
USER = 10001
STOP_SECONDS = 30
MOST_BYTES = 8 * 2**20  # of the 64 MiB that the manifests give
KERNEL = {"proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "mqueue", "securityfs", "debugfs", "tracefs"}
"""File systems that are no place to keep a file."""
SEAL = """
mount --make-rprivate /
while read -r _ _ _ _ place _; do mount -o remount,bind,ro "$place" 2>/dev/null || true; done < /proc/self/mountinfo
mount -t tmpfs -o mode=1777,size=64m tmpfs "$TMPDIR"
cd /
exec "$@"
"""
AS_ROOT = os.geteuid() == 0
NAMESPACE = ["unshare", "--mount"] if AS_ROOT else ["unshare", "--user", "--map-root-user", "--mount"]


def without_rights() -> list[str]:
    """What runs a command as somebody who may write nothing, but may read our files: they may lie in root's home."""
    if not AS_ROOT:
        return ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    reading = "-all,+dac_read_search"
    return [
        *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"),
        *(f"--inh-caps={reading}", f"--ambient-caps={reading}", f"--bounding-set={reading}"),
    ]


def can_seal() -> bool:
    """Whether this process may make a mount namespace, in which everything is read-only."""
    command = [*NAMESPACE, "mount", "--make-rprivate", "/"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Confined:
    """A service that may write to `folder` alone."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path
    log: Path
    sealed: bool

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, which have sessions of their own."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    @property
    def seen_folder(self) -> Path:
        """`folder` as the service sees it."""
        return Path(f"/proc/{self.process.pid}/root{self.folder}")


def instruction(name: str) -> str:
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)[-1]


@pytest.fixture(scope="module")
def confined(good: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Confined]:
    """The image's command in the image's environment, with another folder for /tmp."""
    work = tmp_path_factory.mktemp("confined")
    folder, log, port = work / "tmp", work / "serve.log", free_port()
    folder.mkdir()
    sealed = can_seal()
    if AS_ROOT:
        os.chown(folder, USER, USER)
    names = dict(pair.split("=", 1) for pair in shlex.split(instruction("ENV")))
    environment = {name: value.replace("/tmp", str(folder)) for name, value in names.items() if name != "PATH"}
    environment |= {
        "PATH": f"{Path(PYTHON).parent}:{os.environ['PATH']}",
        "TMPDIR": str(folder),
        "GAN_MODELS": str(good.artifact.directory),
    }
    environment["BENTOML_PORT"] = str(port)
    command = json.loads(instruction("CMD"))
    seal = [*NAMESPACE, "sh", "-ec", SEAL, "sh"] if sealed else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*seal, *without_rights(), *command],
            cwd="/",
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    found = Confined(f"http://127.0.0.1:{port}", process, folder, log, sealed)
    try:
        until_ready(found.url, process, log)
        yield found
    finally:
        workers = found.workers()
        process.terminate()
        _, left = psutil.wait_procs([psutil.Process(process.pid), *workers], STOP_SECONDS)
        for each in left:
            each.kill()
        process.wait()
    assert not left


def test_it_serves_the_same_images_as_anywhere(confined: Confined, good: Exported) -> None:
    answer = httpx.post(f"{confined.url}/generate", json={"n": 5, "seed": 3, "format": "npy"}, timeout=60)
    assert answer.status_code == 200, answer.text
    latent = good.artifact.manifest.latent
    drawn = draw(range(3, 8), latent.dim, latent.distribution, classes=3)
    direct = run_session(open_session(good.artifact), drawn.latents, drawn.labels)
    assert np.array_equal(np.load(io.BytesIO(answer.content)), direct.transpose(0, 2, 3, 1))
    # The workers' metrics are files.
    assert 'gan_images_total{model="good",outcome="generated"} 5.0' in httpx.get(f"{confined.url}/metrics").text


def test_nobody_of_it_is_root_or_may_write_elsewhere(confined: Confined) -> None:
    workers = confined.workers()
    assert workers
    members = [Path(f"/proc/{pid}") for pid in (confined.process.pid, *[worker.pid for worker in workers])]
    for member in members:
        status = (member / "status").read_text()
        assert re.search(r"^Uid:\t(\d+)", status, re.MULTILINE)[1] != "0"
        assert int(re.search(r"^CapEff:\t(\w+)", status, re.MULTILINE)[1], 16) & ~(1 << 2) == 0  # reading, for the test
        if confined.sealed:
            assert writable(member / "mountinfo") == [str(confined.folder)]


def test_it_leaves_little_in_that_folder(confined: Confined) -> None:
    names = {re.sub("-[^-]*$", "", each.name) for each in confined.seen_folder.iterdir()}
    assert "bentoml" in names
    assert names <= {"bentoml", "bentoml-uds", "bentoml-client"}
    sizes = [each.stat().st_size for each in confined.seen_folder.rglob("*") if each.is_file()]
    assert sum(sizes) < MOST_BYTES


def writable(mountinfo: Path) -> list[str]:
    """Where files could be written."""
    places: dict[str, bool] = {}
    for line in mountinfo.read_text().splitlines():
        before, _, after = line.partition(" - ")
        place, options = before.split()[4:6]
        # Of two mounts at one place, the later one hides the other.
        places[place] = "rw" in options.split(",") and after.split()[0] not in KERNEL
    return [place for place, is_writable in places.items() if is_writable]
