"""What is unloaded: artifacts whose folders go, and those that somebody asks to unload."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from house import PATIENCE, SEEDS, House, images, look, names
from toy_artifact import write_artifact

from gan_serving.errors import NotLoadableError, NotReadyError, UnknownModelError
from gan_serving.models.catalog import Catalog
from gan_serving.process.shared_flags import SharedFlags
from gan_serving.settings import Settings


def test_a_removed_artifact_is_unloaded_but_the_last_one_stays_until_there_is_another(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bentoml.ganworks")
    house.put("a", 1)
    house.put("b", 2)

    async def scenario(catalog: Catalog) -> None:
        shutil.rmtree(house.folder / "a")
        await look(catalog)
        assert names(catalog) == ["b"]
        with pytest.raises(UnknownModelError, match="'a' is unknown"):
            catalog.get("a")
        shutil.rmtree(house.folder / "b")
        caplog.clear()
        for _ in range(3):
            await look(catalog)
        assert names(catalog) == ["b"]
        assert len(await images(catalog.get(None))) == len(SEEDS)
        assert catalog.list()[0].reason == "its folder is gone; served from memory"
        assert len(caplog.records) == 1
        assert "it is the last one and goes on being served" in caplog.text
        house.put("c")
        await look(catalog)
        assert names(catalog) == ["c"]

    house.drive(scenario)
    assert house.events == [("unloaded", "a"), ("ok", "c"), ("unloaded", "b")]


def test_all_removed_at_once_leaves_one_and_it_is_the_same_when_it_comes_back(house: House) -> None:
    for name in "abc":
        house.put(name)

    async def scenario(catalog: Catalog) -> None:
        last = catalog.get("c")
        shutil.copytree(house.folder / "c", house.folder / ".c")
        for name in "abc":
            shutil.rmtree(house.folder / name)
        await look(catalog)
        assert names(catalog) == ["c"]
        (house.folder / ".c").rename(house.folder / "c")
        await look(catalog)
        assert catalog.get("c").batcher is last.batcher
        assert catalog.reason_of("c") is None

    house.drive(scenario)
    assert sorted(house.events) == [("unloaded", "a"), ("unloaded", "b")]


def test_a_folder_that_is_gone_for_the_instant_of_its_replacement_is_not_unloaded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = house.put("a", 1)
    house.put("b")
    newer = write_artifact(house.folder / ".a", 2, name="a")

    async def scenario(catalog: Catalog) -> None:
        old = catalog.get("a")
        surveyed, is_sudden = asyncio.Event(), catalog._registry.is_sudden

        def told(now: Any) -> bool:
            surveyed.set()
            return is_sudden(now)

        monkeypatch.setattr(catalog._registry, "is_sudden", told)
        folder.rename(house.folder / ".old")
        looking = asyncio.create_task(look(catalog))
        await surveyed.wait()
        newer.rename(folder)
        assert catalog.get("a") is old
        await looking
        assert catalog.get("a").digest != old.digest

    house.drive(scenario)
    assert house.events == [("ok", "a")]


def test_when_the_source_itself_is_gone_everything_stays_and_it_is_said_once(house: House, logged_errors: Any) -> None:
    house.put("a")
    house.put("b")

    async def scenario(catalog: Catalog) -> None:
        house.folder.rename(house.folder.parent / "away")
        for _ in range(3):
            await look(catalog)
        assert names(catalog) == ["a", "b"]
        assert catalog.list()[0].reason == "its folder can't be read now; served from memory"
        (line,) = logged_errors()
        assert line.startswith(f"{house.folder}: can't be read: No such file or directory")
        (house.folder.parent / "away").rename(house.folder)
        await look(catalog)
        assert [model.reason for model in catalog.list()] == [None, None]

    house.drive(scenario)
    assert house.events == []


def test_a_folder_that_may_be_missing_and_was_there_is_no_wish_when_it_goes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a volume that is not mounted for a moment: nobody gets another generator's images."""
    zoo = house.folder.parent / "zoo"
    write_artifact(zoo / "mnist-cgan", 1, name="mnist-cgan")
    monkeypatch.setattr("gan_serving.sources.ZOO_FOLDERS", (zoo,))
    house.put("mine", 2)

    async def scenario(catalog: Catalog) -> None:
        house.folder.rename(house.folder.with_name("away"))
        report = await catalog.reload()
        assert report.unloaded == []
        assert names(catalog) == ["mine", "mnist-cgan"]
        assert catalog.default_name == "mine"

    house.drive(scenario, f"{house.folder}?:zoo")


def test_load_and_unload_by_request(house: House) -> None:
    house.put("a")
    house.put("b")

    async def scenario(catalog: Catalog) -> None:
        held = catalog.get("a")
        await catalog.unload("a")
        with pytest.raises(UnknownModelError, match="'a' is not served: unloaded by request"):
            catalog.get("a")
        assert len(await images(held)) == len(SEEDS)
        assert [(s.name, s.state, s.reason) for s in catalog.states()] == [
            ("a", "UNAVAILABLE", "unloaded by request"),
            ("b", "READY", ""),
        ]
        os.utime(house.folder / "a" / "manifest.json")
        await look(catalog)
        await catalog.reload()
        assert names(catalog) == ["b"], "it stays unloaded until somebody loads it"
        with pytest.raises(UnknownModelError, match="'a' is not loaded; this service has b"):
            await catalog.unload("a")
        await catalog.unload("b")
        with pytest.raises(NotReadyError, match=r"^no generator is loaded; see the service's log$"):
            catalog.get("b")
        await catalog.load("a")
        assert names(catalog) == ["a"]
        await catalog.load("a")
        refusal = r"'\.\./models/a' is not in this service's folders; they have a, b"
        with pytest.raises(UnknownModelError, match=refusal):
            await catalog.load("../models/a")
        house.put("a", 2, forged=True)
        with pytest.raises(NotLoadableError, match=r"'a' can't be loaded: \[tolerance\] a: "):
            await catalog.load("a")
        assert names(catalog) == ["a"]

    house.drive(scenario)
    assert house.events == [("unloaded", "a"), ("unloaded", "b"), ("ok", "a"), ("failed", "a")]


def test_workers_tell_each_other_what_was_unloaded(house: House, tmp_path: Path) -> None:
    house.put("a")
    house.put("b")
    shared = tmp_path / "flags"
    shared.mkdir()

    async def scenario(first: Catalog) -> None:
        settings = Settings(models=str(house.folder), threads=1)
        second = Catalog(settings, flags=SharedFlags(shared))
        await first.unload("a")
        await look(second)
        assert names(first) == names(second) == ["b"]
        third = Catalog(settings, flags=SharedFlags(shared))  # as one that replaces a worker that died
        assert names(third) == ["b"]
        await second.load("a")
        for catalog in (first, third):
            await look(catalog)
            assert names(catalog) == ["a", "b"]
        await second.close()
        await third.close()

    house.drive(scenario, flags=SharedFlags(shared))


def test_what_was_unloaded_while_a_worker_started_is_not_served_by_it(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folders are not watched, too."""
    monkeypatch.setattr("gan_serving.models.watching.FLAG_SECONDS", 0.02)
    house.put("a")
    house.put("b")
    shared = tmp_path / "flags"
    shared.mkdir()

    async def main() -> None:
        settings = Settings(models=str(house.folder), threads=1, reload_seconds=0)
        catalog = Catalog(settings, flags=SharedFlags(shared))
        SharedFlags(shared).unload("a")
        await catalog.start()
        while names(catalog) != ["b"]:
            await asyncio.sleep(0.01)
        await catalog.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
