"""Folders that hang hold up nobody, and the watcher goes on whatever happens."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hanging import hanging
from house import PATIENCE, SEEDS, House, images, names
from toy_artifact import images_of, write_artifact

from gan_serving.models.catalog import Catalog
from gan_serving.models.watching import Watcher
from gan_serving.process.shared_flags import SharedFlags
from gan_serving.settings import Settings
from gan_serving.sources import Folder


def test_a_folder_that_hangs_holds_up_no_other_and_is_served_when_it_comes(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, and in later looks; also where the folders are not watched."""
    monkeypatch.setattr("gan_serving.process.threaded_tasks.STALL_SECONDS", 0.2)
    house.put("hangs", 1)
    house.put("stays", 2)

    async def until(*wanted: str) -> None:
        while names(catalog) != [*wanted]:
            await asyncio.sleep(0.01)

    async def start(catalog: Catalog) -> None:
        await catalog.start()
        assert names(catalog) == ["stays"]
        (line,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        assert line.startswith(f"{house.folder / 'hangs'}: is not read after ")
        house.put("new", 3)
        report = await catalog.reload()
        assert (report.loaded, report.failed) == (["new"], {})

    async def changed(catalog: Catalog, expected: Any) -> None:
        assert (await catalog.reload()).loaded == []
        assert np.array_equal(await images(catalog.get("hangs")), expected), "the version before goes on being served"

    async def main() -> None:
        nonlocal catalog
        settings = Settings(models=str(house.folder), threads=1, reload_seconds=0)
        with hanging(house.folder / "hangs" / "README.md"):
            catalog = Catalog(settings)
            await start(catalog)
        await until("hangs", "new", "stays")
        first = images_of(house.folder / "hangs", SEEDS)
        folder = house.put("hangs", 4)
        with hanging(folder / "manifest.json"):
            await changed(catalog, first)
        while np.array_equal(await images(catalog.get("hangs")), first):
            await asyncio.sleep(0.01)
        assert np.array_equal(await images(catalog.get("hangs")), images_of(folder, SEEDS))
        await catalog.close()

    catalog: Catalog
    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_who_is_told_to_stop_waits_for_nothing(house: House) -> None:
    house.put("hangs")
    house.put("stays")
    began = time.monotonic()
    with hanging(house.folder / "hangs" / "generator.onnx"):
        Catalog(Settings(models=str(house.folder), threads=1), is_stopping=lambda: time.monotonic() > began + 0.5)
    assert time.monotonic() < began + 5


def test_the_watcher_takes_its_time_where_the_flags_can_not_be_read(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SharedFlags):
        reads = 0

        def state(self) -> Any:
            self.reads += 1
            if self.reads > 1:
                raise OSError("too many open files")
            return super().state()

    async def main() -> int:
        flags = Broken(None)

        async def look() -> None:
            raise AssertionError

        watcher = Watcher(look, flags, lambda: False, period=0.05)
        watcher.start()
        await asyncio.sleep(0.5)
        await watcher.close()
        return flags.reads

    assert 2 <= asyncio.run(main()) <= 12
    assert "too many open files" in caplog.text


def test_the_watcher_looks_by_itself_and_outlives_a_fault(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("a", 1)

    async def main() -> None:
        loaded = asyncio.Event()
        settings = Settings(models=str(house.folder), threads=1, reload_seconds=0.01)
        catalog = Catalog(settings, on_event=lambda *_: loaded.set())
        failing, whole = asyncio.Event(), catalog._look

        async def fail_first(*, asked: bool) -> Any:
            if not failing.is_set():
                failing.set()
                raise OSError("the disk is on fire")
            return await whole(asked=asked)

        monkeypatch.setattr(catalog, "_look", fail_first)
        ours = asyncio.all_tasks()
        await catalog.start()
        await failing.wait()
        house.put("a", 2)
        await loaded.wait()
        await catalog.close()
        assert asyncio.all_tasks() == ours

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_folder_that_hangs_at_the_start_is_served_when_it_comes_where_nothing_is_watched(
    house: House, logged_errors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a")
    write_artifact(house.folder.parent / "far" / "b", 1, name="b")
    comes, whole = threading.Event(), Folder.artifacts

    def artifacts(folder: Folder) -> list[Path]:
        if folder.path.name == "far":
            assert comes.wait(PATIENCE)
        return whole(folder)

    monkeypatch.setattr(Folder, "artifacts", artifacts)
    monkeypatch.setattr("gan_serving.process.threaded_tasks.STALL_SECONDS", 0.2)
    monkeypatch.setattr("gan_serving.models.watching.FLAG_SECONDS", 0.02)

    async def main() -> None:
        models = f"{house.folder}:{house.folder.parent / 'far'}"
        catalog = Catalog(Settings(models=models, threads=1, reload_seconds=0))
        await catalog.start()
        assert names(catalog) == ["a"]
        (line,) = logged_errors()
        assert line.endswith("far: is not read after 30 s"), "nothing from there goes on being served"
        comes.set()
        while names(catalog) != ["a", "b"]:
            await asyncio.sleep(0.01)
        comes.clear()
        await catalog.reload()
        (line,) = logged_errors()
        assert line.endswith("; what was loaded from there goes on being served")
        comes.set()
        await catalog.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_look_goes_on_when_the_time_of_its_callers_is_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the part that loads what may take a name that has become free."""
    house.put("first", name="b")
    house.put("heir", 1, name="a")

    async def scenario(catalog: Catalog) -> None:
        begun, whole = asyncio.Event(), catalog._load

        async def slowly(*arguments: Any) -> Any:
            begun.set()
            await asyncio.sleep(0.2)
            return await whole(*arguments)

        monkeypatch.setattr(catalog, "_load", slowly)
        house.put("first", 2, name="c")
        house.put("new", 3, name="d")
        asking = [asyncio.create_task(catalog.reload()) for _ in range(3)]
        await begun.wait()
        later = [asyncio.create_task(catalog.reload()) for _ in range(20)]
        await asyncio.sleep(0.25)  # in the second part of the look
        for task in (*asking, *later):
            task.cancel()
        assert len(catalog._looks._tasks) <= 3, "those who come meanwhile wait for one look together"
        while names(catalog) != ["a", "c", "d"]:
            await asyncio.sleep(0.01)
        for name, folder in (("a", "heir"), ("c", "first"), ("d", "new")):
            assert np.array_equal(await images(catalog.get(name)), images_of(house.folder / folder, SEEDS))
        assert (await catalog.reload()).loaded == []

    house.drive(scenario)
