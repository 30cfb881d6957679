"""What type checkers tell the users of the client: right calls pass, wrong ones are found on their line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import PYTHON

PROGRAM = """\
from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Picture

from gan_client import (
    Animation,
    AsyncGanClient,
    Frames,
    GanClient,
    Generation,
    Health,
    Image,
    Latents,
    ModelDetail,
    ModelInfo,
    RawResponse,
    Rendered,
)


def blocking(client: GanClient) -> None:
    images: Generation = client.generate(64, label=7, seed=0)
    image: Image = images[0]
    some: Generation = images[1:]
    pixels: NDArray[np.uint8] = image.numpy()
    arrays: NDArray[np.uint8] = images.arrays
    sheet: Picture = images.grid(columns=8)
    paths: list[Path] = some.save("folder")
    client.generate(latents=np.zeros((2, 64), np.float32), label=["cat", 1], truncation=0.5, model="digits")
    file: Rendered = client.render(4, format="webp", quality=80, columns=2)
    motion: Animation = client.interpolate([1, 2, 3], steps=8, label=7, loop=True, format="gif", fps=20)
    frames: Frames = client.frames(latents=[[0.0, 1.0], [1.0, 0.0]])
    latents: Latents = client.latents(range(4))
    client.generate(latents=latents.arrays, label=latents.labels)
    client.generate(latents=latents, label=latents.labels)
    client.generate(seeds=np.arange(4), label=np.arange(4))
    stacked: NDArray[np.uint8] = np.asarray(images, np.uint8)
    as_images, as_image, as_frames = np.asarray(images), np.asarray(image), np.asarray(frames)
    as_latents = np.asarray(latents)
    numbers: NDArray[np.float32] = as_latents
    infos: list[ModelInfo] = client.models.list()
    detail: ModelDetail = client.models.get("digits")
    card: str = client.models.card("digits")
    preview: bytes = client.models.preview("digits")
    health: Health = client.health()
    raw: RawResponse[Generation] = client.with_raw_response.generate(4)
    parsed: Generation = raw.parse()
    raw_detail: RawResponse[ModelDetail] = client.with_raw_response.models.get("digits")
    quick: GanClient = client.with_options(timeout=2.0, max_retries=0)
    with client.stream(100_000, label=itertools.cycle(range(10)), seed=0) as stream:
        for each in stream:
            each.save(Path("folder") / f"{each.seed}.png")
    print(stacked, pixels, arrays, sheet, paths, file.data, motion.frames, frames.arrays, infos, detail.latent.dim)
    print(numbers, card, preview, health.ready, parsed, raw_detail.elapsed, quick)

    client.generate("64")  # wrong: n is text
    client.generate(4, 7, 0)  # wrong: seed has to be named
    client.generate(sed=1)  # wrong: a misspelt argument
    client.generate(label=1.5)  # wrong: no label is a fraction
    client.render(4, format="bmp")  # wrong: no such format
    client.interpolate([1, 2], format="npy")  # wrong: arrays come from frames
    client.interpolate(seeds="12")  # wrong: seeds are numbers
    client.latents()  # wrong: of which seeds?
    client.models()  # wrong: it is models.list()
    client.models.get()  # wrong: which one?
    client.stream()  # wrong: how many?
    client.with_options(timeout="2")  # wrong: seconds are a number
    client.with_raw_response.generate(4).save("x")  # wrong: parse() comes first
    images.seed = 3  # wrong: no such attribute
    image.seed = 3  # wrong: an image doesn't change
    GanClient(timeout="60")  # wrong: seconds are a number
    text: str = client.generate(1)  # wrong: it is a Generation
    floats: NDArray[np.float32] = as_images  # wrong: pixels are uint8
    floats = as_image  # wrong: here too
    floats = as_frames  # wrong: and here
    pixels = as_latents  # wrong: latents are float32


async def awaiting(client: AsyncGanClient) -> None:
    sevens, eights = await asyncio.gather(client.generate(4, label=7), client.generate(4, label=8))
    images: Generation = sevens
    motion: Animation = await client.interpolate([1, 2])
    detail: ModelDetail = await client.models.get("digits")
    raw: RawResponse[Generation] = await client.with_raw_response.generate(4)
    async with client.stream(1000) as stream:
        seeds: list[int | None] = [image.seed async for image in stream]
    print(images, eights[0].png, motion, detail.name, raw.parse().arrays, seeds)

    client.generate(1).save("x")  # wrong: it is not awaited
    await client.generate(n="1")  # wrong: n is text
    await client.stream(10)  # wrong: a stream is iterated
    for _ in client.stream(10):  # wrong: with async for
        pass
    wrong: Image = await client.generate(1)  # wrong: it is a Generation
"""
BIN = Path(sys.executable).parent


def mypy(folder: Path) -> set[int]:
    """Lines with an error."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache", "program.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    return {int(line) for line in re.findall(r"^program\.py:(\d+): error:", done.stdout, re.MULTILINE)}


def pyright(folder: Path) -> set[int]:
    """Lines with an error; in pyright's strict mode, of which basedpyright is a build."""
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = [BIN / "basedpyright", "--outputjson", "--pythonpath", PYTHON]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1
    return {one["range"]["start"]["line"] + 1 for one in found["generalDiagnostics"]}


@pytest.mark.parametrize("check", [mypy, pyright])
def test_right_calls_pass_and_each_wrong_one_is_found(tmp_path, check):
    (tmp_path / "program.py").write_text(PROGRAM)
    wrong = {number for number, line in enumerate(PROGRAM.splitlines(), 1) if "# wrong" in line}
    assert check(tmp_path) == wrong
