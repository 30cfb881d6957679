"""POST /v2/models/{name}[/versions/{version}]/infer."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gan_serving.batching.long_requests import stream
from gan_serving.call import current_call
from gan_serving.errors import DeadlineError, InvalidRequestError
from gan_serving.middleware.json_marks import AT_ONCE
from gan_serving.middleware.rate_limit import caller_of
from gan_serving.models.generator import Generator
from gan_serving.models.registry import VERSION
from gan_serving.worker.leaving import unless_caller_leaves
from gan_serving.worker.state import Worker, worker_of

from .answer import JSON_VALUES, image_header, to_json, with_data
from .metadata import generator_of
from .request import Inference, parse_inference
from .wire import LENGTH_HEADER, inflate

_BINARY: Final = "application/octet-stream"


async def post_infer(request: Request) -> Response:
    """POST .../infer.

    Raises:
        ServiceError: of any kind.
    """
    worker, generator = worker_of(request), generator_of(request)
    call = current_call()
    call.model = generator.manifest.name
    asked = await _parse(request, worker, generator)
    call.images = len(asked)
    _check_answer(asked, generator)
    worker.admit(generator, caller_of(request.scope), len(asked))
    try:
        async with asyncio.timeout(asked.timeout) as limit:
            return await unless_caller_leaves(request.receive, _answer(asked, worker, generator))
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineError(
            f"no images within the request's timeout of {asked.timeout} s; give it more time, or ask for fewer images"
        ) from None


async def _parse(request: Request, worker: Worker, generator: Generator) -> Inference:
    body = await request.body()
    settings, headers = worker.settings, request.headers

    def work() -> Inference:
        plain = inflate(body, headers.get("content-encoding", ""), settings.max_body)
        return parse_inference(plain, headers.get(LENGTH_HEADER), generator.manifest, settings.max_n)

    if len(body) <= AT_ONCE and "content-encoding" not in headers:
        return work()
    return await worker.in_parsers(work)


def _check_answer(asked: Inference, generator: Generator) -> None:
    values = math.prod(_shape(asked, generator))
    if not asked.binary and values > JSON_VALUES:
        raise InvalidRequestError(
            f"the answer has {values} values; as JSON at most {JSON_VALUES} are sent: "
            "ask for the output with binary_data, or for fewer images",
            "outputs",
        )


def _shape(asked: Inference, generator: Generator) -> tuple[int, int, int, int]:
    image = generator.manifest.image
    return len(asked), image.channels, image.height, image.width


async def _answer(asked: Inference, worker: Worker, generator: Generator) -> Response:
    """The response, when its first images are there; of a long binary one, the rest follows as it is computed."""
    shape = _shape(asked, generator)
    header = image_header(generator.manifest.name, VERSION, asked.id, shape, binary=asked.binary)
    if not asked.binary:
        whole = await _whole(asked, generator)
        return Response(await worker.in_encoders(lambda: with_data(header, whole)), media_type="application/json")
    head = to_json(header)
    headers = {LENGTH_HEADER: str(len(head)), "Content-Length": str(len(head) + math.prod(shape))}
    if len(asked) <= generator.batcher.max_batch:
        whole = await _whole(asked, generator)
        return Response(head + whole.tobytes(), headers=headers, media_type=_BINARY)
    images = _images(asked, generator)
    first = await anext(images)
    return StreamingResponse(_body(head + first.tobytes(), images), headers=headers, media_type=_BINARY)


async def _whole(asked: Inference, generator: Generator) -> NDArray[np.uint8]:
    """All images at once."""
    if len(asked) > generator.batcher.max_batch:
        return np.concatenate([part async for part in _images(asked, generator)])
    ((latents, labels),) = asked.parts(generator.manifest, len(asked))
    return await generator.batcher.submit(latents, labels)


async def _images(asked: Inference, generator: Generator) -> AsyncGenerator[NDArray[np.uint8], None]:
    """The images in order, at most a batch at a time."""
    batcher = generator.batcher
    async with contextlib.aclosing(stream(batcher, asked.parts(generator.manifest, batcher.max_batch))) as parts:
        async for images in parts:
            yield images


async def _body(begin: bytes, images: AsyncGenerator[NDArray[np.uint8], None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(images):
        yield begin
        async for part in images:
            yield part.tobytes()
