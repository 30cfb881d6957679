"""Both clients against the real service: the same images, streams that break off, and the contract as it is served."""

import asyncio
import io
import itertools
import json
import os
import re
import signal
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gan_client import AsyncGanClient, GanClient, errors, types

pytestmark = pytest.mark.slow

DIGITS = {"model": "digits"}


@pytest.fixture
def client(service) -> Iterator[GanClient]:
    with GanClient(service.url, timeout=30) as it:
        yield it


def test_both_clients_get_the_services_bytes(service, client: GanClient) -> None:
    async def awaited() -> list:
        async with AsyncGanClient(service.url, timeout=30) as it:
            stream = [image async for image in it.stream(100, 7, seed=5, chunk=30, **DIGITS)]
            return [await it.generate(100, 7, seed=5, **DIGITS), stream]

    asked = {"n": 100, "seed": 5, "label": 7, "format": "zip", **DIGITS}
    with zipfile.ZipFile(io.BytesIO(httpx.post(f"{service.url}/generate", json=asked).content)) as archive:
        index = json.loads(archive.read("images.json"))
        bare = [archive.read(image["file"]) for image in index["images"]]
    of_tasks, of_task_stream = asyncio.run(awaited())
    of_stream = list(client.stream(100, 7, seed=5, chunk=64, **DIGITS))
    images = client.generate(100, 7, seed=5, **DIGITS)
    for found in (images, of_tasks, of_stream, of_task_stream):
        assert [image.png for image in found] == bare
        assert [(image.seed, image.label) for image in found] == [(5 + i, 7) for i in range(100)]
    array = np.load(io.BytesIO(client.render(100, 7, seed=5, format="npy", **DIGITS).data))
    assert np.array_equal(images.arrays, array)
    assert client.generate(3, model="colours").arrays.shape == (3, 32, 32, 3)


def test_a_stream_of_2000_images_never_holds_half_of_them(client: GanClient) -> None:
    def drawn(n: int) -> int:
        return sum(len(image.png) for image in client.stream(n, itertools.cycle(range(10)), seed=0, chunk=50, **DIGITS))

    drawn(100)  # what is imported and opened once doesn't count
    tracemalloc.start()
    try:
        size = drawn(2000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 2, f"{peak} bytes in memory for {size} bytes of images"


def test_a_stream_goes_on_after_the_service_was_killed(serve, models: Path, client: GanClient) -> None:
    whole = [image.png for image in client.stream(1000, seed=9, chunk=50, **DIGITS)]
    with serve(models=models) as doomed:
        with GanClient(doomed.url, max_retries=1) as it:
            stream = it.stream(1000, seed=9, chunk=50, **DIGITS)
            before = [image.png for image in itertools.islice(stream, 120)]
            for pid in doomed.pids():
                os.kill(pid, signal.SIGKILL)
            doomed.process.wait()
            with pytest.raises(errors.ConnectionFailedError, match=re.escape(doomed.url)) as caught:
                before.extend(image.png for image in stream)
        assert stream.done == len(before) < 1000
        assert caught.value.__notes__ == [
            f"{stream.done} of 1000 images came; the next one's seed is {stream.seed + stream.done}"
        ]
    after = client.stream(1000 - stream.done, seed=stream.seed + stream.done, **DIGITS)
    assert before + [image.png for image in after] == whole


def test_tasks_share_connections(service) -> None:
    def connections() -> int:
        there = psutil.Process().net_connections("tcp")
        return len([one for one in there if one.raddr and one.raddr.port == service.port])

    async def story() -> tuple[int, int]:
        async with AsyncGanClient(service.url, timeout=30) as it:
            for seed in range(20):
                await it.generate(1, seed=seed, **DIGITS)
            one = connections()
            images = await asyncio.gather(*(it.generate(1, seed=seed, **DIGITS) for seed in range(300)))
            assert [image[0].seed for image in images] == list(range(300))
            return one, connections()

    one, many = asyncio.run(story())
    assert one == 1
    assert many <= 64


def test_models(client: GanClient, models: Path) -> None:
    infos = client.models.list()
    assert [info.name for info in infos] == ["colours", "digits"]
    detail = client.models.get("digits")
    manifest = json.loads((models / "digits" / "manifest.json").read_text())
    assert detail.latent.dim == manifest["latent"]["dim"] == infos[1].latent_dim
    assert detail.artifact == infos[1].artifact
    assert len(repr(detail)) < 4000, "a notebook shows it on one screen"
    assert detail.certificate_summary == infos[1].certificate
    assert [gate.code for gate in detail.certificate.results[0].gates] == detail.certificate_summary.gates
    assert client.models.card("digits") == (models / "digits" / "README.md").read_text()
    assert client.models.preview("digits") == (models / "digits" / "preview.png").read_bytes()
    with pytest.raises(errors.NotFoundError, match="digits"):
        client.models.get("nobody")


def test_every_field_of_a_model_has_a_type(client: GanClient) -> None:
    """What the service says of a model and `ModelDetail` doesn't know would reach nobody's documentation."""

    def unknown(part: object, path: str) -> list[str]:
        if isinstance(part, list):
            return [found for each in part for found in unknown(each, path)]
        if not isinstance(part, BaseModel):
            return []
        here = [f"{path}.{name}" for name in part.model_extra or {}]
        return here + [
            found for name in type(part).model_fields for found in unknown(getattr(part, name), f"{path}.{name}")
        ]

    for name in ("digits", "colours"):
        assert unknown(client.models.get(name), name) == []


def test_interpolation_meets_the_images_of_its_key_points(client: GanClient) -> None:
    seeds = [3, 14, 15]
    frames = client.frames(seeds, steps=5, label=7, **DIGITS)
    keys = client.generate(seeds=seeds, label=7, **DIGITS)
    assert len(frames) == 11
    assert np.array_equal(frames.arrays[::5], keys.arrays)
    for kind in ("gif", "webp"):
        motion = client.interpolate(seeds, steps=5, label=7, loop=True, fps=20, format=kind, **DIGITS)
        with Image.open(io.BytesIO(motion.data)) as picture:
            assert (picture.format, picture.n_frames, picture.size) == (kind.upper(), 15, (28, 28))
        assert (motion.frames, motion.model) == (15, "digits")
    sheet = client.interpolate(seeds, steps=5, format="png", columns=4, **DIGITS)
    assert Image.open(io.BytesIO(sheet.data)).size == (4 * 30 + 2, 3 * 30 + 2)


def test_latents_draw_the_images_of_their_seeds(client: GanClient) -> None:
    latents = client.latents([3, 2**53 - 1, 5], truncation=0.7, **DIGITS)
    again = client.generate(latents=latents.arrays, label=latents.labels, **DIGITS)
    images = client.generate(seeds=[3, 2**53 - 1, 5], truncation=0.7, **DIGITS)
    assert [image.png for image in again] == [image.png for image in images]
    assert [image.label for image in images] == latents.labels
    assert client.latents([1], model="colours").labels is None


def test_wire_types_are_those_that_are_served(service) -> None:
    document = httpx.get(f"{service.url}/docs.json").json()
    served = document["components"]["schemas"]
    ours = {
        name: kind
        for name, kind in vars(types).items()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and name in served
    }
    assert {"GenerateRequest", "InterpolateRequest", "LatentsRequest", "GenerateResponse", "ModelList"} <= set(ours)
    assert {"LatentsResponse", "ErrorBody", "StreamedImage", "StreamDone", "StreamError", "ReloadReport"} <= set(ours)
    _, schemas = models_json_schema(
        [(kind, "validation") for kind in ours.values()], ref_template="#/components/schemas/{model}"
    )
    # What only the running service knows: its limit of images, and a rule between fields.
    served["GenerateRequest"]["properties"]["n"]["anyOf"][0].pop("maximum")
    served["LatentsRequest"]["properties"]["seeds"].pop("maxItems")
    served["InterpolateRequest"].pop("anyOf")
    for name, schema in schemas["$defs"].items():
        assert served[name] == schema, name


def test_every_call_is_one_that_is_served(service, client: GanClient) -> None:
    paths = httpx.get(f"{service.url}/docs.json").json()["paths"]
    raw = client.with_raw_response
    for response in (
        raw.generate(**DIGITS),
        raw.render(**DIGITS),
        raw.interpolate([1, 2], **DIGITS),
        raw.frames([1, 2], **DIGITS),
        raw.latents([1], **DIGITS),
        raw.models.list(),
        raw.models.get("digits"),
        raw.models.card("digits"),
        raw.models.preview("digits"),
        raw.health(),
    ):
        exchange = response._exchange
        path = exchange.path.replace("/digits", "/{name}")
        said = paths[path][exchange.method.lower()]["responses"]["200"]["content"]
        assert response.headers["content-type"].partition(";")[0] in said, path
