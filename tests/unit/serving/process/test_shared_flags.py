"""What workers tell each other stays told when somebody cleans up their folder of temporary files."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from gan_serving.models.watching import Watcher
from gan_serving.process import shared_flags
from gan_serving.process.shared_flags import SharedFlags

LONG_AGO = 1e9  # seconds since the epoch


@pytest.fixture(autouse=True)
def _at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_flags, "KEEP_SECONDS", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "flags"
    made.mkdir()
    return made


def test_what_was_unloaded_stays_so_when_its_file_is_taken(folder: Path) -> None:
    first, second = SharedFlags(folder), SharedFlags(folder)
    first.unload("a")
    before = second.state()
    assert second.unloaded() == {"a"}
    for path in folder.iterdir():
        path.unlink()
    assert first.unloaded() == second.unloaded() == {"a"}
    assert second.state() == before
    second.keep()
    assert SharedFlags(folder).unloaded() == {"a"}  # of a worker that comes later


def test_the_folder_is_made_again(folder: Path) -> None:
    first, second = SharedFlags(folder), SharedFlags(folder)
    shutil.rmtree(folder)
    assert first.unloaded() == frozenset()
    first.unload("a")
    assert second.unloaded() == {"a"}
    shutil.rmtree(folder)
    second.ask()
    assert first.state()[0] == second.state()[0] > 0


def test_who_can_not_tell_the_others_says_so(folder: Path) -> None:
    flags = SharedFlags(folder)
    shutil.rmtree(folder)
    folder.write_text("")
    with pytest.raises(OSError, match="flags"):
        flags.unload("a")
    assert SharedFlags(folder.parent).unloaded() == frozenset()


def test_loading_again_reaches_all_however_often_it_changes(folder: Path) -> None:
    first, second, third = SharedFlags(folder), SharedFlags(folder), SharedFlags(folder)
    for one, other in ((first, second), (second, third)):
        one.unload("a")
        assert [flags.unloaded() for flags in (first, second, third)] == [{"a"}] * 3
        for flags in (first, second, third):
            flags.keep()
        other.load("a")
        (folder / "unloaded.a").touch()  # of one that was about to make it new again
        assert [flags.unloaded() for flags in (first, second, third)] == [frozenset()] * 3


def test_a_watcher_keeps_them_from_growing_old_and_nobody_looks_for_that(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gan_serving.models.watching.FLAG_SECONDS", 0.02)
    flags, others = SharedFlags(folder), ["connections", "asked"]
    flags.unload("a")
    for name in others:
        (folder / name).touch()
    for path in (*folder.iterdir(), folder):
        os.utime(path, (LONG_AGO, LONG_AGO))

    async def main() -> None:
        async def look() -> None:
            raise AssertionError

        watcher = Watcher(look, flags, lambda: False, period=0)
        watcher.start()
        while folder.stat().st_mtime == LONG_AGO:
            await asyncio.sleep(0.01)
        await watcher.close()

    asyncio.run(asyncio.wait_for(main(), 30))
    assert {path.name for path in folder.iterdir() if path.stat().st_mtime == LONG_AGO} == {"asked"}
