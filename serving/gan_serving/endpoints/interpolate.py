"""POST /interpolate: from the body to an animation."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gan_client.types import AnimationFormat, InterpolateRequest
from gan_export.artifact import Manifest
from gan_serving.batching.long_requests import stream
from gan_serving.call import current_call
from gan_serving.errors import InvalidRequestError
from gan_serving.formats.animate import SLOW_FILM_BYTES, encode_animation, is_animated
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import SLOW_BYTES, Encoded
from gan_serving.formats.negotiate import animation_format_of
from gan_serving.models.generator import Generator
from gan_serving.requests.path import LatentPath, make_path
from gan_serving.requests.plan import parse_interpolation
from gan_serving.worker.leaving import unless_caller_leaves
from gan_serving.worker.state import Worker

from .handling import RequestContext, answered, parsed, planned

FRAME_BYTES: Final = 2**28
"""Of one response's images: an animation can't be sent in parts, so all its frames are held."""


class _Asked(NamedTuple):
    """What a body asks for."""

    request: InterpolateRequest
    generator: Generator
    path: LatentPath
    wanted: AnimationFormat


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
    asked = await planned(context, lambda: _asked(context, request, generator))
    manifest, frames = generator.manifest, len(asked.path)
    call = current_call()
    call.model, call.images = manifest.name, frames
    worker.admit(generator, context.caller, frames)
    encoded = await unless_caller_leaves(context.receive, _animate(worker, asked))
    made = {
        "X-Gan-Model": manifest.name,
        "X-Gan-Artifact": generator.identity,
        "X-Gan-Frames": str(frames),
    }
    return Response(encoded.body, headers=made, media_type=encoded.media_type)


def _asked(context: RequestContext, request: InterpolateRequest, generator: Generator) -> _Asked:
    path = make_path(request, generator.manifest, context.worker.settings.max_n)
    wanted = animation_format_of(request, context.headers.get("accept", ""))
    _check_size(path, generator.manifest)
    return _Asked(request, generator, path, wanted)


async def _animate(worker: Worker, asked: _Asked) -> Encoded:
    batcher, request, wanted = asked.generator.batcher, asked.request, asked.wanted
    parts = [part async for part in stream(batcher, asked.path.chunks(batcher.max_batch))]
    left = threading.Event()

    def work() -> Encoded:
        images = np.concatenate(parts)
        frames = Batch(asked.generator.manifest.name, images, None, None, None, request.columns, request.quality)
        return encode_animation(frames, wanted, request.fps, left.is_set)

    most = SLOW_FILM_BYTES if is_animated(wanted) else SLOW_BYTES
    slow = sum(part.nbytes for part in parts) > most
    began = time.perf_counter()
    try:
        encoded = await worker.in_encoders(work, slow=slow)
    finally:
        left.set()
    worker.metrics.encoded(wanted, time.perf_counter() - began)
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
