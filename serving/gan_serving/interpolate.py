"""POST /interpolate: from the body to an animation."""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive

from gan_client.types import AnimationFormat, InterpolateRequest
from gan_export.artifact import Manifest

from .animate import encode_animation
from .batch import Batch
from .call import current_call
from .encode import Encoded
from .errors import InvalidRequestError
from .generator import Generator
from .handling import answered, parsed_aside
from .json_marks import AT_ONCE
from .leaving import unless_caller_leaves
from .long_requests import stream
from .negotiate import animation_format_of
from .path import LatentPath, make_path
from .plan import parse_interpolation
from .worker import Worker

FRAME_BYTES: Final = 2**28
"""Pixels of one response: an animation can't be sent in parts, so all its frames are held."""


async def post_interpolate(request: Request) -> Response:
    """POST /interpolate."""
    return await answered(request, answer)


async def answer(worker: Worker, body: bytes, headers: Headers, receive: Receive, caller: str) -> Response:
    """The frames that a request body asks for, in its format.

    Args:
        worker: that got the request.
        body: JSON of an InterpolateRequest.
        headers: Accept is looked at.
        receive: tells when the caller hangs up.
        caller: whose rate limit counts the frames.

    Raises:
        ServiceError: of any kind.
    """
    if len(body) <= AT_ONCE:
        asked = parse_interpolation(body, worker.settings.max_n)
    else:
        asked = await parsed_aside(worker, body, parse_interpolation)
    generator = worker.catalog.get(asked.model)
    manifest = generator.manifest
    path = make_path(asked, manifest, worker.settings.max_n)
    wanted = animation_format_of(asked, headers.get("accept", ""))
    _check_size(path, manifest)
    call = current_call()
    call.model, call.images = manifest.name, len(path)
    generator.batcher.admit(min(len(path), generator.batcher.max_batch))  # before frames are paid for in vain
    worker.limiter.charge(caller, len(path))
    encoded = await unless_caller_leaves(receive, _animate(worker, generator, path, asked, wanted))
    made = {
        "X-Gan-Model": manifest.name,
        "X-Gan-Artifact": generator.identity,
        "X-Gan-Frames": str(len(path)),
    }
    return Response(encoded.body, headers=made, media_type=encoded.media_type)


async def _animate(
    worker: Worker, generator: Generator, path: LatentPath, asked: InterpolateRequest, wanted: AnimationFormat
) -> Encoded:
    batcher = generator.batcher
    images = np.concatenate([part async for part in stream(batcher, path.chunks(batcher.max_batch))])
    frames = Batch(generator.manifest.name, images, None, None, None, asked.columns, asked.quality)
    began = time.perf_counter()
    encoded = await worker.in_encoders(lambda: encode_animation(frames, wanted, asked.fps))
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
