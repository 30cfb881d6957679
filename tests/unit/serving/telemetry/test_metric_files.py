"""The files in which workers count: what killed ones leave there takes no more and more room and time."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from gan_serving.process.mapped_file import take_pages
from gan_serving.telemetry.metric_files import FOLDER, reserve, settled

COUNTING = """
import sys
from gan_serving.telemetry.metric_files import reserve
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
from gan_serving.telemetry.metric_files import settled
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


def counted(folder: Path) -> float:
    """The counter's sum over all files that are read."""
    files = [str(path) for path in folder.glob("counter_*.db")]
    return sum(value for path in files for _, value, *_ in MmapedDict.read_all_values_from_file(path))


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
    monkeypatch.setattr("gan_serving.telemetry.metric_files.take_pages", no_room)
    with settled():
        assert counted(folder) == 2
    assert not [*folder.glob("gauge_live*")], "what the dead had waiting needs no room to be forgotten"
    monkeypatch.undo()
    monkeypatch.setenv(FOLDER, str(folder))
    assert 'asked_total{who="a"} 2.0' in run(SUMS)


def test_without_room_for_the_lock_no_queue_of_the_dead_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (number,) = gone(1)
    (folder / f"gauge_livesum_{number}.db").write_bytes(b"\0" * 64)
    monkeypatch.setattr("gan_serving.telemetry.metric_files._open_lock", lambda _folder: None)
    with settled():
        assert not [*folder.iterdir()]


@pytest.mark.parametrize("size", [0, 7])
def test_a_file_that_a_worker_died_before_beginning_is_removed(folder: Path, size: int) -> None:
    (number,) = gone(1)
    (folder / f"counter_{number}.db").write_bytes(b"\0" * size)
    with settled():
        assert not [*folder.glob("*.db")]


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_a_fold_that_is_killed_counts_nothing_twice_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, second, third = gone(3)
    whole = tmp_path / "whole"
    whole.mkdir()
    monkeypatch.setenv(FOLDER, str(whole))
    killed(whole, first)
    with settled():  # folds the first
        killed(whole, second)
    for kind in ("counter", "histogram"):
        shutil.copy(whole / f"{kind}_{second}.db", whole / f"{kind}_{third}.db")
    step = 0
    while True:
        folder = tmp_path / str(step)
        shutil.copytree(whole, folder)
        monkeypatch.setenv(FOLDER, str(folder))
        finished = killed_at(step, folder, monkeypatch)
        with settled():
            assert counted(folder) == 6, f"killed at step {step}"
        assert sorted(path.name for path in folder.glob("*.db")) == ["counter_0.db", "histogram_0.db"]
        if finished:
            break
        step += 1
    assert step >= 6, "the fold changes files in fewer steps than it can"


def killed_at(step: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Add up, and be killed before this change of a name; True if it ended without so many."""
    left = step

    def counting(change: Callable[..., object]) -> Callable[..., object]:
        def changed(*given: object, **more: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return change(*given, **more)

        return changed

    with monkeypatch.context() as patched:
        for name in ("rename", "replace", "unlink"):
            patched.setattr(Path, name, counting(getattr(Path, name)))
        try:
            with settled():
                assert counted(folder) == 6
        except Killed:
            return False
    return True


def test_a_number_that_is_used_again_inherits_no_queue(folder: Path) -> None:
    killed(folder, os.getpid())
    assert "waiting 7.0" in run(SUMS)
    again = (
        "import os; os.getpid = lambda: int(os.environ['NUMBER']); "
        "from gan_serving.telemetry.metric_files import *; reserve()"
    )
    subprocess.run([sys.executable, "-c", again], check=True, env={**os.environ, "NUMBER": str(os.getpid())})
    said = run(SUMS)
    assert "waiting 7" not in said
    assert 'asked_total{who="a"} 2.0' in said


def test_others_can_read_while_a_worker_makes_its_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def slowly(path: Path, size: int) -> None:
        path.touch()  # what it is between its opening and its pages
        looks.append(counted(folder))
        take_pages(path, size)

    monkeypatch.setattr("gan_serving.telemetry.metric_files.take_pages", slowly)
    assert reserve()
    assert set(looks) == {0}
    assert [*folder.glob("counter_*.db")]
