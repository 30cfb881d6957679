"""The files in which workers count: what killed ones leave there takes no more and more room and time."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gan_serving.metric_files import FOLDER, settled

COUNTING = """
import sys
from gan_serving.metric_files import reserve
assert reserve()
from prometheus_client import Counter, Gauge, Histogram, values
number = int(sys.argv[1])
values.ValueClass = values.MultiProcessValue(lambda: number)
Counter("asked", "Asked.", ["who"]).labels(who="a").inc(2)
Histogram("seconds", "Seconds.", buckets=(1, 5)).observe(3)
Gauge("waiting", "Waiting.", multiprocess_mode="livesum").set(7)
"""
SUMS = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
from gan_serving.metric_files import settled
with settled():
    print("\\n".join(l for l in generate_latest(registry).decode().splitlines() if l[0] != "#"))
"""
ROOM = 2**16  # bytes, where one worker's files take more than a megabyte


def run(program: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def killed(folder: Path, number: int) -> None:
    """A worker of that number has counted, and is no more."""
    run(COUNTING, str(number))
    for path in folder.glob("*.db"):  # that were reserved for the process's own number
        if path.stem.rpartition("_")[2] != str(number) and not path.stem.endswith("_0"):
            path.unlink()
    for path in folder.glob(f"*_{number}.db"):
        os.truncate(path, max(2**20, path.stat().st_size))


def room(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def gone(count: int) -> list[int]:
    """Numbers that no process has."""
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    return list(range(most + 1, most + 1 + count))


def test_what_the_dead_have_counted_is_kept_in_one_file(folder: Path) -> None:
    for times, number in enumerate(gone(3), 1):
        killed(folder, number)
        lines = run(SUMS).splitlines()
        assert {line.split()[0]: float(line.split()[1]) for line in lines} == {
            'asked_total{who="a"}': 2 * times,
            'seconds_bucket{le="1.0"}': 0, 'seconds_bucket{le="5.0"}': times, 'seconds_bucket{le="+Inf"}': times,
            "seconds_count": times, "seconds_sum": 3 * times,
        }  # fmt: skip
        assert sorted(path.name for path in folder.glob("*.db")) == ["counter_0.db", "histogram_0.db"]
        assert room(folder) < ROOM


def test_files_of_the_living_stay_as_they_are(folder: Path) -> None:
    killed(folder, os.getpid())
    before = {path.name: path.read_bytes() for path in folder.glob("*.db")}
    with settled():
        assert {path.name: path.read_bytes() for path in folder.glob("*.db")} == before
    assert 'asked_total{who="a"} 2.0' in run(SUMS)


def test_nothing_is_folded_while_somebody_adds_up(folder: Path) -> None:
    (number,) = gone(1)
    killed(folder, number)
    with (folder / "ganworks.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with settled():
            assert (folder / f"counter_{number}.db").exists()
    with settled():
        assert not (folder / f"counter_{number}.db").exists()


def test_a_full_disk_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_path: Path, _size: int) -> None:
        raise OSError(28, "No space left on device")

    (number,) = gone(1)
    killed(folder, number)
    monkeypatch.setattr("gan_serving.metric_files.take_pages", no_room)
    with settled():
        assert (folder / f"counter_{number}.db").exists()
    monkeypatch.undo()
    monkeypatch.setenv(FOLDER, str(folder))
    assert 'asked_total{who="a"} 2.0' in run(SUMS)


def test_a_number_that_is_used_again_inherits_no_queue(folder: Path) -> None:
    killed(folder, os.getpid())
    assert "waiting 7.0" in run(SUMS)
    again = (
        "import os; os.getpid = lambda: int(os.environ['NUMBER']); from gan_serving.metric_files import *; reserve()"
    )
    subprocess.run([sys.executable, "-c", again], check=True, env={**os.environ, "NUMBER": str(os.getpid())})
    said = run(SUMS)
    assert "waiting 7" not in said
    assert 'asked_total{who="a"} 2.0' in said
