"""POST /interpolate: from the body to an animation."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gan_client.types import AnimationFormat, Format, InterpolateRequest
from gan_export.artifact import Manifest
from gan_serving.batching.long_requests import stream
from gan_serving.call import current_call
from gan_serving.errors import InvalidRequestError
from gan_serving.formats.animate import SLOW_FILM_BYTES, encode_animation
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import Encoded
from gan_serving.formats.negotiate import animation_format_of
from gan_serving.formats.stream_formats import STREAM_FORMATS
from gan_serving.models.generator import Generator
from gan_serving.requests.path import LatentPath, make_path
from gan_serving.requests.plan import parse_interpolation
from gan_serving.worker.leaving import unless_caller_leaves
from gan_serving.worker.state import Worker

from .bodies import ManyImages
from .handling import RequestContext, answered, parsed, planned

FRAME_BYTES: Final = 2**28
"""Of one response's images: an animation can't be sent in parts, so all its frames are held."""


async def post_interpolate(request: Request) -> Response:
    """POST /interpolate."""
    return await answered(request, answer)


async def answer(context: RequestContext) -> Response:
    """The frames that a request body asks for, in its format.

    Args:
        context: with the JSON of an InterpolateRequest; of the headers, Accept is looked at.

    Raises:
        ServiceError: of any kind.
    """
    worker = context.worker
    request = await parsed(context, partial(parse_interpolation, max_n=worker.settings.max_n))
    generator = worker.catalog.get(request.model)
    task = await planned(context, lambda: _task(context, request, generator))
    manifest, frames = generator.manifest, len(task.path)
    call = current_call()
    call.model, call.images = manifest.name, frames
    worker.admit(generator, context.caller, frames)
    made = {
        "X-Gan-Model": manifest.name,
        "X-Gan-Artifact": generator.identity,
        "X-Gan-Frames": str(frames),
    }
    if task.wanted in STREAM_FORMATS and frames > generator.batcher.max_batch:
        return await task.many(task.wanted).streamed(context.receive, made)
    encoded = await unless_caller_leaves(context.receive, task.whole())
    return Response(encoded.body, headers=made, media_type=encoded.media_type)


def _task(context: RequestContext, asked: InterpolateRequest, generator: Generator) -> _Task:
    path = make_path(asked, generator.manifest, context.worker.settings.max_n)
    wanted = animation_format_of(asked, context.headers.get("accept", ""))
    _check_size(path, generator.manifest)
    return _Task(context.worker, generator, path, wanted, asked)


@dataclass(frozen=True, slots=True)
class _Task:
    """One request that is being answered."""

    worker: Worker
    generator: Generator
    path: LatentPath
    wanted: AnimationFormat
    asked: InterpolateRequest

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """All frames, part after part."""
        batcher, name, asked = self.generator.batcher, self.generator.manifest.name, self.asked
        async with aclosing(stream(batcher, self.path.chunks(batcher.max_batch))) as parts:
            async for images in parts:
                yield Batch(name, images, None, None, None, asked.columns, asked.quality)

    def many(self, wanted: Format) -> ManyImages:
        """All frames, as a sheet or an array."""
        return ManyImages(self.worker, wanted, self.generator.manifest.name, len(self.path), self.batches())

    async def whole(self) -> Encoded:
        """The whole body."""
        if self.wanted == "gif" or self.wanted == "webp":
            return await self._film(self.wanted)
        return await self.many(self.wanted).whole()

    async def _film(self, wanted: Literal["gif", "webp"]) -> Encoded:
        """An animation, of which all frames are held: the colours of a gif come from all of them."""
        image, fps, quality = self.generator.manifest.image, self.asked.fps, self.asked.quality
        frames, there = np.empty((len(self.path), image.channels, image.height, image.width), np.uint8), 0
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                frames[there : there + len(batch)] = batch.images
                there += len(batch)
        left = threading.Event()
        began = time.perf_counter()
        try:
            encoded = await self.worker.in_encoders(
                lambda: encode_animation(frames, wanted, fps, quality, left.is_set),
                slow=frames.nbytes > SLOW_FILM_BYTES,
            )
        finally:
            left.set()
        self.worker.metrics.encoded(wanted, time.perf_counter() - began)
        return encoded


def _check_size(path: LatentPath, manifest: Manifest) -> None:
    image = manifest.image
    one = image.height * image.width * image.channels
    if len(path) * one > FRAME_BYTES:
        raise InvalidRequestError(
            f"the path has {len(path)} frames, but of {manifest.name}'s size a request is for at most "
            f"{FRAME_BYTES // one}; use fewer steps or key points",
            "steps",
        )


ROUTES: Final = (Route("/interpolate", post_interpolate, methods=["POST"]),)
