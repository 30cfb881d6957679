"""The catalog over real artifact folders that change while it serves."""

import asyncio
import gc
import os
import re
import shutil
import weakref
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from house import PATIENCE, SEEDS, House, images, look, names
from starlette.routing import Router
from toy_artifact import DIM, images_of, write_artifact

from gan_export.artifact import Artifact, draw
from gan_export.artifact.providers import CPU
from gan_serving.endpoints.pages import ROUTES
from gan_serving.errors import UnknownModelError
from gan_serving.models import loading
from gan_serving.models.catalog import Catalog
from gan_serving.models.generator import Generator
from gan_serving.worker.state import SCOPE_KEY


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
        assert catalog.get("a").pages.card == changed

    house.drive(scenario)
    assert house.events == []


@pytest.mark.parametrize("damage", ["forged", "byte", "manifest", "garbled"])
def test_a_broken_version_replaces_nothing_and_is_told_once(house: House, logged_errors: Any, damage: str) -> None:
    folder = house.put("a", 1)
    house.put("b")
    codes = {"forged": "tolerance", "byte": "digest", "manifest": "manifest", "garbled": "golden"}

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
        assert logged_errors() == [], "it was told before it is sure that nobody is still writing"
        for _ in range(3):
            await look(catalog)
        (line,) = logged_errors()
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
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_generator = loading.make_generator

    def make(artifact: Artifact, *rest: Any) -> Generator:
        if artifact.name == "a":
            zlib.decompress(b"not compressed")
        return make_generator(artifact, *rest)

    monkeypatch.setattr(loading, "make_generator", make)
    house.put("a")
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
            pages = catalog.get("a").pages
            assert (pages.card is None, "preview.png" in pages.pictures) == (file == "README.md", file == "README.md")
            return
        assert names(catalog) == ["b"]
        (state,) = (state for state in catalog.states() if state.name == "a")
        assert state.reason == (
            f"[manifest] a/{file}: is a pipe, a socket or a device, not a file; remove it, or export again"
        )

    house.drive(scenario)


def test_an_artifact_that_is_copied_file_by_file_is_loaded_when_it_is_complete_and_never_complained_of(
    house: House, logged_errors: Any, tmp_path: Path
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
        assert catalog.get("b").pages.pictures["preview.png"].content == (complete / "preview.png").read_bytes()

    house.drive(scenario)
    assert logged_errors() == []
    assert house.events == [("ok", "b")]


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
