"""The catalog over real artifact folders that change while it serves."""

import asyncio
import gc
import os
import re
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from hanging import hanging
from starlette.routing import Router
from toy_artifact import DIM, images_of, put_in_place, write_artifact

from gan_export.artifact import draw
from gan_export.artifact.providers import CPU
from gan_serving.catalog import Catalog, Generator
from gan_serving.errors import NotLoadableError, NotReadyError, UnknownModelError
from gan_serving.pages import ROUTES
from gan_serving.settings import Settings
from gan_serving.shared_flags import SharedFlags
from gan_serving.sources import Folder
from gan_serving.watching import FLAG_SECONDS, Watcher
from gan_serving.worker import SCOPE_KEY

PATIENCE = 30.0  # seconds until a test that hangs is ended
SEEDS = [3, 4, 5]

Scenario = Callable[[Catalog], Coroutine[Any, Any, None]]


class House:
    """A folder of artifacts, and what a catalog over it told."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "models"
        self.folder.mkdir()
        self.made = 0
        self.events: list[tuple[str, str]] = []

    def put(self, folder: str, version: int = 0, **how: Any) -> Path:
        """Write a version elsewhere and rename it into place."""
        self.made += 1
        staging = write_artifact(self.folder / f".making{self.made}", version, **({"name": folder} | how))
        put_in_place(staging, self.folder / folder)
        return self.folder / folder

    def drive(
        self, scenario: Scenario, models: object = None, flags: SharedFlags | None = None, default: str | None = None
    ) -> None:
        async def main() -> None:
            settings = Settings(models=str(models or self.folder), threads=1, default_model=default)
            catalog = Catalog(settings, on_event=lambda *event: self.events.append(event), flags=flags)
            try:
                await asyncio.wait_for(scenario(catalog), PATIENCE)
            finally:
                await catalog.close()

        asyncio.run(main())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged as an error since the last call."""
    caplog.set_level("INFO", "bentoml.ganworks")

    def take() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        caplog.clear()
        return found

    return take


def names(catalog: Catalog) -> list[str]:
    return [model.name for model in catalog.list()]


async def images(generator: Generator) -> np.ndarray:
    drawn = await generator.batcher.submit(draw(SEEDS, DIM, "normal").latents, None)
    return drawn[:, 0]


async def look(catalog: Catalog) -> None:
    """What the watcher does every GAN_RELOAD_SECONDS."""
    await catalog._look(asked=False)


def test_all_are_loaded_listed_and_draw_their_own_images(house: House) -> None:
    for version, name in enumerate(("b", "a", "c")):
        house.put(name, version)
        os.utime(house.folder / name / "manifest.json", (1000 - version, 1000 - version))

    async def scenario(catalog: Catalog) -> None:
        assert names(catalog) == ["a", "b", "c"]
        assert [model.default for model in catalog.list()] == [False, True, False]
        assert catalog.get(None).manifest.name == "b"
        for name in "abc":
            generator = catalog.get(name)
            assert np.array_equal(await images(generator), images_of(house.folder / name, SEEDS))
            assert (generator.engine.threads, generator.engine.provider) == (1, CPU)
        assert len({catalog.get(name).digest for name in "abc"}) == 3
        assert {model.artifact for model in catalog.list()} == {catalog.get(n).manifest.identity() for n in "abc"}
        with pytest.raises(UnknownModelError, match=r"'d' is unknown; this service has a, b, c"):
            catalog.get("d")
        with pytest.raises(UnknownModelError, match=r"'A' is unknown, the nearest is a; this service has a, b, c"):
            catalog.get("A")

    house.drive(scenario)
    assert house.events == []


@pytest.mark.parametrize("default", [None, "a"])
def test_another_default_is_told(house: House, caplog: pytest.LogCaptureFixture, default: str | None) -> None:
    caplog.set_level("INFO", "bentoml.ganworks")

    def told() -> list[str]:
        lines = [line.partition(" is now the default of requests that name none") for line in caplog.messages]
        return [name for name, said, _ in lines if said]

    async def scenario(catalog: Catalog) -> None:
        os.utime(house.put("b", 2) / "manifest.json", (2000, 2000))
        await look(catalog)
        assert told() == ([] if default else ["generator b"])
        await look(catalog)
        await catalog.unload("b")
        assert told() == ([] if default else ["generator b", "generator a"])

    os.utime(house.put("a", 1) / "manifest.json", (1000, 1000))
    house.drive(scenario, default=default)


def test_a_default_that_is_not_there_is_told_at_the_start_and_to_who_relies_on_it(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.put("a")
    told = "the service's GAN_DEFAULT_MODEL, 'b', is unknown; name one of a"

    async def scenario(catalog: Catalog) -> None:
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
            f"{told}; requests that name no model are refused"
        ]
        with pytest.raises(UnknownModelError, match=f"^{told}$"):
            catalog.get(None)
        with pytest.raises(UnknownModelError, match=r"^model 'b' is unknown; this service has a$"):
            catalog.get("b")
        house.put("b", 1)
        await look(catalog)
        assert catalog.get(None).manifest.name == "b"

    house.drive(scenario, default="b")


def test_a_new_version_is_swapped_in_and_who_holds_the_old_one_keeps_it(house: House) -> None:
    folder = house.put("a", 1)
    before = images_of(folder, SEEDS)

    async def scenario(catalog: Catalog) -> None:
        old = catalog.get("a")
        batcher, session = old.batcher, weakref.ref(old.engine)
        house.put("a", 2)
        await look(catalog)
        assert catalog.get("a").digest != old.digest
        assert np.array_equal(await images(catalog.get("a")), images_of(folder, SEEDS))
        assert np.array_equal(await images(old), before)
        # A request may hold nothing but the queue.
        del old
        gc.collect()
        drawn = await batcher.submit(draw(SEEDS, DIM, "normal").latents, None)
        assert np.array_equal(drawn[:, 0], before)
        (thread,) = batcher.executor._threads
        del batcher
        await asyncio.sleep(0)  # the queue's own task ends
        gc.collect()
        assert session() is None, "the old session is still open"
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()

    house.drive(scenario)
    assert house.events == [("ok", "a")]


def test_a_look_at_unchanged_folders_reads_nothing_and_a_touched_one_keeps_its_session(house: House) -> None:
    folder = house.put("a")
    card = folder / "README.md"

    async def scenario(catalog: Catalog) -> None:
        generator = catalog.get("a")
        before, changed = card.stat(), card.read_text(encoding="utf-8").replace("Version", "VERSION")
        card.write_text(changed, encoding="utf-8")
        os.utime(card, ns=(before.st_atime_ns, before.st_mtime_ns))
        await look(catalog)
        assert catalog.get("a") is generator
        os.utime(card, (1, 1))
        await look(catalog)
        assert catalog.get("a").batcher is generator.batcher
        assert catalog.get("a").card == changed

    house.drive(scenario)
    assert house.events == []


@pytest.mark.parametrize("damage", ["forged", "byte", "manifest", "garbled"])
def test_a_broken_version_replaces_nothing_and_is_told_once(house: House, errors: Any, damage: str) -> None:
    folder = house.put("a", 1)
    house.put("b")
    codes = {"forged": "tolerance", "byte": "digest", "manifest": "manifest", "garbled": "unloadable"}

    async def scenario(catalog: Catalog) -> None:
        good = catalog.get("a")
        house.put("a", 2, forged=damage == "forged", garbled=damage == "garbled")
        if damage == "byte":
            graph = bytearray((folder / "generator.onnx").read_bytes())
            graph[len(graph) // 2] ^= 1
            (folder / "generator.onnx").write_bytes(graph)
        if damage == "manifest":
            (folder / "manifest.json").write_text("{")
        await look(catalog)
        assert errors() == [], "it was told before it is sure that nobody is still writing"
        for _ in range(3):
            await look(catalog)
        (line,) = errors()
        assert f"[{codes[damage]}] {folder}" in line
        assert line.endswith("; the version that was loaded goes on being served")
        assert catalog.get("a") is good
        (state,) = (state for state in catalog.states() if state.name == "a")
        assert (state.state, state.version) == ("READY", "1")
        assert state.reason.startswith(f"[{codes[damage]}] a")
        assert str(house.folder) not in state.reason
        assert catalog.list()[0].reason == state.reason
        assert catalog.list()[1].reason is None
        report = await catalog.reload()
        assert report.failed == {"a": state.reason}
        house.put("a", 3)
        await look(catalog)
        assert catalog.get("a") is not good
        assert catalog.reason_of("a") is None

    house.drive(scenario)
    assert house.events == [("failed", "a"), ("failed", "a"), ("ok", "a")]


def test_an_artifact_that_fails_in_its_own_way_keeps_no_other_from_being_served(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.put("a", garbled=True)
    house.put("b")

    async def scenario(catalog: Catalog) -> None:
        assert names(catalog) == ["b"]
        (state,) = (state for state in catalog.states() if state.name == "a")
        assert re.fullmatch(r"\[unloadable\] a: can't be read or run: error: Error -3 .*; export again", state.reason)

    house.drive(scenario)
    assert "Traceback" in caplog.text
    assert "zlib" in caplog.text


@pytest.mark.parametrize("file", ["README.md", "preview.png", "certificate.json", "generator.onnx", "golden.npz"])
def test_a_pipe_in_place_of_a_file_is_not_read(house: House, file: str) -> None:
    folder = house.put("a")
    house.put("b")
    (folder / file).unlink()
    os.mkfifo(folder / file)

    async def scenario(catalog: Catalog) -> None:
        if file in ("README.md", "preview.png"):
            assert names(catalog) == ["a", "b"]
            assert None in (catalog.get("a").card, catalog.get("a").preview)
            return
        assert names(catalog) == ["b"]
        (state,) = (state for state in catalog.states() if state.name == "a")
        assert state.reason == (
            f"[manifest] a/{file}: is a pipe, a socket or a device, not a file; remove it, or export again"
        )

    house.drive(scenario)


def test_a_folder_that_hangs_holds_up_no_other_and_is_served_when_it_comes(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, and in later looks; also where the folders are not watched."""
    monkeypatch.setattr("gan_serving.threaded_tasks.STALL_SECONDS", 0.2)
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


def test_an_artifact_that_is_copied_file_by_file_is_loaded_when_it_is_complete_and_never_complained_of(
    house: House, errors: Any, tmp_path: Path
) -> None:
    house.put("a")
    complete = write_artifact(tmp_path / "b", 5)

    async def scenario(catalog: Catalog) -> None:
        (house.folder / "b").mkdir()
        for file in ("manifest.json", "generator.onnx", "golden.npz", "certificate.json", "preview.png", "README.md"):
            await look(catalog)
            assert catalog.get("a")
            shutil.copy(complete / file, house.folder / "b")
        await look(catalog)
        assert names(catalog) == ["a", "b"]
        assert np.array_equal(await images(catalog.get("b")), images_of(complete, SEEDS))
        assert catalog.get("b").preview == (complete / "preview.png").read_bytes()

    house.drive(scenario)
    assert errors() == []
    assert house.events == [("ok", "b")]


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


def test_when_the_source_itself_is_gone_everything_stays_and_it_is_said_once(house: House, errors: Any) -> None:
    house.put("a")
    house.put("b")

    async def scenario(catalog: Catalog) -> None:
        house.folder.rename(house.folder.parent / "away")
        for _ in range(3):
            await look(catalog)
        assert names(catalog) == ["a", "b"]
        assert catalog.list()[0].reason == "its folder can't be read now; served from memory"
        (line,) = errors()
        assert line.startswith(f"{house.folder}: can't be read: No such file or directory")
        (house.folder.parent / "away").rename(house.folder)
        await look(catalog)
        assert [model.reason for model in catalog.list()] == [None, None]

    house.drive(scenario)
    assert house.events == []


def test_of_two_artifacts_with_one_name_the_second_takes_over_without_a_gap(house: House, errors: Any) -> None:
    house.put("a", 1)
    house.put("twin", 2, name="a")
    house.put("z")

    async def scenario(catalog: Catalog) -> None:
        (line,) = errors()
        assert "[name_taken]" in line
        first = catalog.get("a").digest
        assert [(state.name, state.state) for state in catalog.states()] == [
            ("a", "READY"),
            ("twin", "UNAVAILABLE"),
            ("z", "READY"),
        ]
        shutil.rmtree(house.folder / "a")
        await look(catalog)
        assert catalog.get("a").digest != first
        assert names(catalog) == ["a", "z"]

    house.drive(scenario)
    assert house.events == [("ok", "a")]


def test_the_zoo_stands_back_behind_the_users_own_of_the_same_name(
    house: House, errors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, while serving, and when the user's own is gone again; without a word to the log."""
    zoo = house.folder.parent / "zoo"
    for name in ("mnist-cgan", "other"):
        write_artifact(zoo / name, 1, name=name)
    monkeypatch.setattr("gan_serving.sources.ZOO_FOLDERS", (zoo,))
    house.folder.rmdir()
    models = f"{house.folder}?:zoo"

    async def scenario(catalog: Catalog) -> None:
        assert names(catalog) == ["mnist-cgan", "other"]
        assert catalog.default_name == "mnist-cgan"
        first = catalog.get("other").digest
        house.folder.mkdir()
        house.put("mine", 2, name="other")
        await look(catalog)
        assert catalog.get("other").digest != first
        assert catalog.default_name == "other", "the user's own goes before the zoo"
        assert [(state.name, state.state) for state in catalog.states()] == [
            ("mnist-cgan", "READY"),
            ("other", "READY"),
        ]
        report = await catalog.reload()
        assert (report.loaded, report.failed) == ([], {})
        shutil.rmtree(house.folder / "mine")
        await look(catalog)
        assert catalog.get("other").digest == first
        assert catalog.default_name == "mnist-cgan"
        house.put("mine", 2, name="other")

    async def again(catalog: Catalog) -> None:
        assert names(catalog) == ["mnist-cgan", "other"]
        assert catalog.default_name == "other"
        assert catalog.get("other").manifest.hyperparameters == {"version": 2}

    house.drive(scenario, models)
    house.drive(again, models)
    house.drive(again, f"zoo:{house.folder}")
    assert errors() == []
    assert house.events == [("ok", "other"), ("ok", "other")]


def test_a_name_that_a_folder_frees_goes_to_the_zoo_in_the_same_look(
    house: House, errors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = house.folder.parent / "zoo"
    for name in ("one", "two"):
        write_artifact(zoo / name, 1, name=name)
    monkeypatch.setattr("gan_serving.sources.ZOO_FOLDERS", (zoo,))
    house.put("mine", 2, name="one")

    async def scenario(catalog: Catalog) -> None:
        assert catalog.get("one").manifest.hyperparameters == {"version": 2}
        house.put("mine", 3, name="two")  # the folder is another generator's now
        await look(catalog)
        assert names(catalog) == ["one", "two"]
        assert catalog.get("one").manifest.hyperparameters == {"version": 1}
        assert catalog.get("two").manifest.hyperparameters == {"version": 3}
        house.put("mine", 4, name="three")
        await look(catalog)
        assert names(catalog) == ["one", "three", "two"]
        assert catalog.get("two").manifest.hyperparameters == {"version": 1}
        house.put("mine", 5, name="one")
        await look(catalog)
        assert names(catalog) == ["one", "two"]
        assert catalog.get("one").manifest.hyperparameters == {"version": 5}

    house.drive(scenario, f"{house.folder}:zoo")
    assert errors() == []


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


def test_the_zoo_and_the_users_own_of_one_name_may_come_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = house.folder.parent / "zoo"
    made = write_artifact(zoo / "other", 1, name="other")
    monkeypatch.setattr("gan_serving.sources.ZOO_FOLDERS", (zoo,))

    async def scenario(catalog: Catalog) -> None:
        away = made.rename(zoo.with_name("away"))
        await look(catalog)  # the last one of all stays
        house.put("mine", 2, name="other")
        away.rename(made)
        await catalog.reload()
        assert catalog.get("other").manifest.hyperparameters == {"version": 2}
        assert (await catalog.reload()).failed == {}

    house.drive(scenario, f"{house.folder}:zoo")


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


def test_a_broken_folder_that_is_called_like_another_generator_is_no_problem_of_that_one(house: House) -> None:
    house.put("good", name="faces")
    (house.folder / "faces").mkdir()
    (house.folder / "faces" / "manifest.json").write_text("{}")

    async def scenario(catalog: Catalog) -> None:
        assert names(catalog) == ["faces"]
        assert [(state.name, state.state) for state in catalog.states()] == [
            ("faces", "READY"),
            ("models/faces", "UNAVAILABLE"),
        ]
        await catalog.load("faces")
        await catalog.unload("faces")
        await catalog.load("faces")
        assert names(catalog) == ["faces"]
        report = await catalog.reload()
        assert list(report.failed) == ["models/faces"]
        house.put("good", 1, name="faces", forged=True)
        with pytest.raises(NotLoadableError, match=r"'faces' can't be loaded: \[tolerance\] good: "):
            await catalog.load("faces")

    house.drive(scenario)


def test_two_broken_folders_of_one_name_are_two(house: House) -> None:
    house.put("good")
    for parent, text in (("x", "{}"), ("y", "[")):
        (house.folder.parent / parent / "digits").mkdir(parents=True)
        (house.folder.parent / parent / "digits" / "manifest.json").write_text(text)

    async def scenario(catalog: Catalog) -> None:
        report = await catalog.reload()
        assert list(report.failed) == ["x/digits", "y/digits"]
        assert [state.name for state in catalog.states()] == ["good", "x/digits", "y/digits"]
        assert len(set(report.failed.values())) == 2
        with pytest.raises(NotLoadableError, match=r"'digits' can't be loaded: \[manifest\] digits/manifest.json: "):
            await catalog.load("digits")
        with pytest.raises(UnknownModelError, match=r"'digits' is not served: \[manifest\] digits/manifest.json: "):
            catalog.get("digits")

    house.drive(scenario, ":".join(str(each) for each in (house.folder, *(house.folder.parent / p for p in "xy"))))


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


def test_what_was_unloaded_while_a_worker_started_is_not_served_by_it(house: House, tmp_path: Path) -> None:
    """Where the folders are not watched, too."""
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

    asyncio.run(asyncio.wait_for(main(), 10 * FLAG_SECONDS))


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
    house: House, errors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put("a")
    write_artifact(house.folder.parent / "far" / "b", 1, name="b")
    comes, whole = threading.Event(), Folder.artifacts

    def artifacts(folder: Folder) -> list[Path]:
        if folder.path.name == "far":
            assert comes.wait(PATIENCE)
        return whole(folder)

    monkeypatch.setattr(Folder, "artifacts", artifacts)
    monkeypatch.setattr("gan_serving.threaded_tasks.STALL_SECONDS", 0.2)
    monkeypatch.setattr("gan_serving.watching.FLAG_SECONDS", 0.02)

    async def main() -> None:
        models = f"{house.folder}:{house.folder.parent / 'far'}"
        catalog = Catalog(Settings(models=models, threads=1, reload_seconds=0))
        await catalog.start()
        assert names(catalog) == ["a"]
        (line,) = errors()
        assert line.endswith("far: is not read after 30 s"), "nothing from there goes on being served"
        comes.set()
        while names(catalog) != ["a", "b"]:
            await asyncio.sleep(0.01)
        comes.clear()
        await catalog.reload()
        (line,) = errors()
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


def test_pages_of_the_models(house: House) -> None:
    folder = house.put("a", 1)
    house.put("bare")
    for file in ("preview.png", "README.md"):
        (house.folder / "bare" / file).unlink()
    (house.folder / "bare" / "preview.png").write_text("<script>")

    async def scenario(catalog: Catalog) -> None:
        router = Router(list(ROUTES))

        async def application(scope: Any, receive: Any, send: Any) -> None:
            scope[SCOPE_KEY] = SimpleNamespace(catalog=catalog)
            await router(scope, receive, send)

        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            model = (await http.get("/models/a")).json()
            assert model["certificate"]["manifest_identity"] == model["artifact"] == catalog.list()[0].artifact
            assert (model["state"], model["reason"]) == ("ready", None)
            assert model["engine"]["sha256"] == catalog.get("a").engine.variant.sha256

            preview = await http.get("/models/a/preview.png")
            assert preview.content == (folder / "preview.png").read_bytes()
            assert preview.headers["content-type"] == "image/png"
            etag = preview.headers["etag"]
            for given, status in ((etag, 304), (f'"x", W/{etag}', 304), ('"x"', 200)):
                again = await http.get("/models/a/preview.png", headers={"if-none-match": given})
                assert again.status_code == status
                assert again.headers["etag"] == etag

            card = await http.get("/models/a/card")
            assert card.text == (folder / "README.md").read_text(encoding="utf-8")
            assert card.headers["content-type"] == "text/markdown; charset=utf-8"

            for path in ("bare/preview.png", "bare/card", "nobody", "nobody/card", "..%2fa/card"):
                answer = await http.get(f"/models/{path}")
                assert answer.status_code == 404, path
                if "%" not in path:
                    assert answer.json()["error"]["code"] == "unknown_model"

            house.put("a", 2)
            house.put("c", 3, forged=True)
            shutil.rmtree(house.folder / "bare")
            report = (await http.post("/models/reload")).json()
            assert (report["loaded"], report["unloaded"]) == (["a"], ["bare"])
            assert report["failed"]["c"].startswith("[tolerance] c: ")
            assert (await http.get("/models/a")).json()["artifact"] != model["artifact"]
            refused = (await http.post("/models/reload")).json()
            assert (refused["loaded"], list(refused["failed"])) == ([], ["c"])
            answer = await http.get("/models/c")
            assert answer.status_code == 404
            assert "[tolerance]" in answer.json()["error"]["message"]

    house.drive(scenario)
