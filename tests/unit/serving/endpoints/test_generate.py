"""What POST /generate and /interpolate do in which thread, and how a stream ends that can't go on."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from over_http import PATIENCE, OneModel, over_http

from gan_client.types import StreamError
from gan_export.artifact import Manifest
from gan_serving.endpoints import bodies, generate, interpolate
from gan_serving.formats.sheet_formats import WebpSheet
from gan_serving.formats.stream_formats import NdjsonStream
from gan_serving.middleware.json_marks import AT_ONCE

SHEET = {"n": 80, "format": "png"}  # 80 images of 8x8: too many bytes to be encoded in the event loop
FILM: dict[str, Any] = {"seeds": [1, 2], "steps": 40, "format": "webp"}
FILM_FRAMES = 41


class Held:
    """Stands for an encoder that takes long, and waits inside until it is let go."""

    def __init__(self, encode: Callable[..., Any]) -> None:
        self.encode = encode
        self.inside = threading.Semaphore(0)
        self.let_go = threading.Event()

    def __call__(self, *given: Any) -> Any:
        self.inside.release()
        assert self.let_go.wait(PATIENCE)
        return self.encode(*given)

    async def is_entered(self) -> None:
        assert await asyncio.to_thread(self.inside.acquire, timeout=PATIENCE)


def test_nothing_waits_for_large_animations_but_their_like(digits: Manifest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(interpolate, "SLOW_FILM_BYTES", FILM_FRAMES * 64 - 1)
    held = Held(interpolate.encode_animation)
    monkeypatch.setattr(
        interpolate,
        "encode_animation",
        lambda frames, *more: (held if len(frames) == FILM_FRAMES else held.encode)(frames, *more),
    )

    async def scenario(client: httpx.AsyncClient) -> None:
        films = [asyncio.create_task(client.post("/interpolate", json=FILM)) for _ in range(3)]
        await held.is_entered()
        for path, body in (("/generate", SHEET), ("/interpolate", FILM | {"steps": FILM["steps"] - 1})):
            small = await asyncio.wait_for(client.post(path, json=body), PATIENCE / 4)
            assert small.status_code == 200
        assert not any(film.done() for film in films)
        held.let_go.set()
        assert [film.status_code for film in await asyncio.gather(*films)] == [200] * 3

    try:
        over_http(digits, scenario, encode_threads=1)
    finally:
        held.let_go.set()


def test_a_large_sheet_does_not_hold_up_others(digits: Manifest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "SLOW_BYTES", 80 * 64 - 1)
    held = Held(WebpSheet.end)
    monkeypatch.setattr(WebpSheet, "end", lambda sheet: (held if sheet.total == 80 else held.encode)(sheet))

    async def scenario(client: httpx.AsyncClient) -> None:
        large = asyncio.create_task(client.post("/generate", json=SHEET | {"format": "webp"}))
        await held.is_entered()
        other = await asyncio.wait_for(client.post("/generate", json=SHEET | {"n": 70}), PATIENCE / 4)
        assert other.status_code == 200
        held.let_go.set()
        assert (await large).status_code == 200

    try:
        over_http(digits, scenario, encode_threads=1)
    finally:
        held.let_go.set()


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({"n": 31, "format": "webp"}, 30),
        ({"n": 30, "format": "webp"}, None),
        ({"n": 31, "format": "webp", "quality": 80}, None),
        ({"n": 91, "format": "webp", "quality": 80}, 90),
        ({"n": 91, "format": "png"}, 90),
        ({"n": 90, "format": "jpeg"}, None),
        ({"n": 91, "format": "npy"}, None),
    ],
)
def test_a_sheet_has_an_end(digits: Manifest, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], most: int | None):
    """What is 256 MiB, or 64 MiB in lossless webp, is a few images here."""
    monkeypatch.setattr(generate, "SHEET_BYTES", 90 * 64)
    monkeypatch.setattr(generate, "LOSSLESS_BYTES", 30 * 64)

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/generate", json=body)
        if most is None:
            assert response.status_code == 200
        else:
            error = response.json()["error"]
            assert (response.status_code, error["param"]) == (400, "format")
            assert f"n is {body['n']}; a contact sheet" in error["message"]
            assert f"has {most} images of this size at most" in error["message"]

    over_http(digits, scenario)


def test_a_long_body_is_read_and_resolved_in_a_thread_that_encodes_nothing(
    digits: Manifest, monkeypatch: pytest.MonkeyPatch
):
    held = Held(WebpSheet.end)
    monkeypatch.setattr(WebpSheet, "end", lambda sheet: held(sheet))
    resolved_in, make_plan = [], generate.make_plan

    def told(*given: Any) -> Any:
        resolved_in.append(threading.current_thread().name)
        return make_plan(*given)

    monkeypatch.setattr(generate, "make_plan", told)

    async def scenario(client: httpx.AsyncClient) -> None:
        sheet = asyncio.create_task(client.post("/generate", json=SHEET | {"format": "webp"}))
        await held.is_entered()
        long_body = json.dumps({"latents": [[0.5] * 16], "label": 1, "format": "npy"}) + " " * AT_ONCE
        response = await asyncio.wait_for(client.post("/generate", content=long_body), PATIENCE / 4)
        assert response.status_code == 200
        held.let_go.set()
        await sheet

    try:
        over_http(digits, scenario, encode_threads=1)
    finally:
        held.let_go.set()
    assert resolved_in[0] == threading.main_thread().name
    assert resolved_in[1].startswith("parse")


@pytest.mark.parametrize(
    ("path", "body"),
    [("/generate", {"n": 1, "format": "npy"}), ("/interpolate", {"seeds": [1, 2], "steps": 3, "format": "npy"})],
)
def test_the_catalog_is_asked_in_the_event_loop_also_for_a_long_body(
    digits: Manifest, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
):
    asked_in, get = [], OneModel.get

    def told(catalog: OneModel, name: str | None) -> Any:
        asked_in.append(threading.current_thread())
        return get(catalog, name)

    monkeypatch.setattr(OneModel, "get", told)

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post(path, content=json.dumps(body) + " " * AT_ONCE)
        assert response.status_code == 200, response.text

    over_http(digits, scenario)
    assert asked_in == [threading.main_thread()]


def test_an_animation_whose_caller_leaves_is_told_to_end(digits: Manifest, monkeypatch: pytest.MonkeyPatch):
    begun, ended = threading.Event(), threading.Event()

    def encode(_frames: Any, _wanted: Any, _fps: int, _quality: Any, is_abandoned: Callable[[], bool]) -> None:
        begun.set()
        while not is_abandoned():
            ended.wait(0.001)
        ended.set()

    monkeypatch.setattr(interpolate, "encode_animation", encode)

    async def scenario(client: httpx.AsyncClient) -> None:
        film = asyncio.create_task(client.post("/interpolate", json=FILM))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        film.cancel()
        assert await asyncio.to_thread(ended.wait, PATIENCE)

    over_http(digits, scenario)


def test_ndjson_says_so_when_its_encoder_fails_half_way(
    digits: Manifest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    encode = NdjsonStream._encode

    def fails(self: NdjsonStream, part: Any) -> bytes:
        if self.fed == 16:
            raise MemoryError("no room")
        return encode(self, part)

    monkeypatch.setattr(NdjsonStream, "_encode", fails)

    async def scenario(client: httpx.AsyncClient) -> None:
        ask = {"n": 40, "format": "ndjson"}
        response = await client.post("/generate", json=ask, headers={"x-request-id": "id-7"})
        *images, last = response.text.splitlines()
        assert [json.loads(line)["type"] for line in images] == ["image"] * 16
        told = StreamError.model_validate_json(last)
        assert (told.error.code, told.request_id) == ("internal", "id-7")
        assert "no room" not in last

    with caplog.at_level(logging.ERROR, "bentoml.ganworks"):
        over_http(digits, scenario)
    (record,) = (each for each in caplog.records if each.name == "bentoml.ganworks")
    assert record.getMessage() == "request id-7 failed after its response had begun"
    assert record.exc_info is not None
