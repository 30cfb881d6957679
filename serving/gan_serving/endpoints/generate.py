"""/generate: from the body, or the query of a GET, to the response."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gan_client.types import Format, GenerateRequest
from gan_serving.batching.jobs import Images, Inputs
from gan_serving.batching.long_requests import stream
from gan_serving.call import current_call
from gan_serving.errors import InvalidRequestError
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import Encoded, encode
from gan_serving.formats.negotiate import format_of
from gan_serving.formats.stream_formats import STREAM_FORMATS
from gan_serving.models.generator import Generator
from gan_serving.requests.plan import Part, Plan, make_plan, parse_request
from gan_serving.requests.query import body_of
from gan_serving.worker.leaving import unless_caller_leaves
from gan_serving.worker.state import Worker

from .bodies import ManyImages, encoded
from .etag import etag_of, names
from .handling import RequestContext, answered, parsed, planned

SHEET_BYTES: Final = 2**28
"""Of the images of one contact sheet, which can't be sent in parts."""
LOSSLESS_BYTES: Final = 2**26
"""The same of one in lossless webp, whose encoder takes eleven times the memory of its images."""


async def serve_generate(request: Request) -> Response:
    """POST and GET /generate; HEAD is answered as GET."""
    if request.method == "POST":
        return await answered(request, answer)
    response = await answered(request, partial(_answer_get, request.scope["query_string"]))
    response.headers["Cache-Control"] = "private, no-cache" if "etag" in response.headers else "no-store"
    response.headers["Vary"] = "Accept"
    return response


async def _answer_get(query: bytes, context: RequestContext) -> Response:
    return await answer(replace(context, body=body_of(query)))


async def answer(context: RequestContext) -> Response:
    """The images that a request body asks for, in its format.

    Args:
        context: with the JSON of a GenerateRequest; of the headers, Accept and If-None-Match are looked at.

    Raises:
        ServiceError: of any kind.
    """
    worker = context.worker
    asked = await parsed(context, partial(parse_request, max_n=worker.settings.max_n))
    generator = worker.catalog.get(asked.model)
    task = await planned(context, lambda: _task(context, asked, generator))
    plan, etag = task.plan, task.etag
    call = current_call()
    call.model, call.images = generator.manifest.name, len(plan)
    made = {"X-Gan-Model": generator.manifest.name, "X-Gan-Artifact": generator.identity}
    if plan.first_seed is not None:
        made["X-Gan-Seed"] = str(plan.first_seed)
    if etag is not None:
        made["ETag"] = etag
        if names(etag, context.headers.get("if-none-match")):
            return Response(status_code=304, headers=made)
        if kept := worker.cache.get(etag):
            return Response(kept.body, headers=made, media_type=kept.media_type)
    task.check_sheet()
    worker.admit(generator, context.caller, len(plan))
    if task.wanted in STREAM_FORMATS and len(plan) > task.step:
        return await task.many().streamed(context.receive, made)
    whole = await unless_caller_leaves(context.receive, task.whole())
    if etag is not None:
        worker.cache.put(etag, whole)
    return Response(whole.body, headers=made, media_type=whole.media_type)


def _task(context: RequestContext, asked: GenerateRequest, generator: Generator) -> _Task:
    plan = make_plan(asked, generator.manifest, context.worker.settings.max_n)
    wanted = format_of(asked, context.headers.get("accept", ""), len(plan), generator.manifest.image)
    return _Task(context.worker, generator, plan, wanted, asked, etag_of(generator.digest, plan, asked, wanted))


@dataclass(slots=True)
class _Task:
    """One request that is being answered."""

    worker: Worker
    generator: Generator
    plan: Plan
    wanted: Format
    asked: GenerateRequest
    etag: str | None

    @property
    def step(self) -> int:
        """Images of one part."""
        return self.generator.batcher.max_batch

    def batch(self, part: Part, images: Images) -> Batch:
        """Images with what is known of them."""
        manifest, asked = self.generator.manifest, self.asked
        labels = None if part.labels is None else part.labels.tolist()
        return Batch(manifest.name, images, part.seeds, labels, manifest.class_names, asked.columns, asked.quality)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """All images, part after part; what is known of the parts under way is kept beside them."""
        known: deque[Part] = deque()

        def drawn() -> Iterator[Inputs]:
            for part in self.plan.chunks(self.step):
                known.append(part)
                yield Inputs(part.latents, part.labels)

        async with aclosing(stream(self.generator.batcher, drawn())) as images:
            async for some in images:
                yield self.batch(known.popleft(), some)

    async def whole(self) -> Encoded:
        """The whole body."""
        if len(self.plan) <= self.step:
            part = self.plan.part(0, len(self.plan))
            batch = self.batch(part, await self.generator.batcher.submit(part.latents, part.labels))
            return await encoded(self.worker, self.wanted, batch.images.nbytes, lambda: encode(batch, self.wanted))
        return await self.many().whole()

    def many(self) -> ManyImages:
        """All images, in parts."""
        return ManyImages(self.worker, self.wanted, self.generator.manifest.name, len(self.plan), self.batches())

    def check_sheet(self) -> None:
        """Whether the images fit into one contact sheet, where that is what was asked for.

        Raises:
            InvalidRequestError: they don't.
        """
        n, image = len(self.plan), self.generator.manifest.image
        lossless = self.wanted == "webp" and self.asked.quality is None
        if self.wanted in STREAM_FORMATS or n <= (1 if lossless else self.step):
            return
        size, most = n * image.height * image.width * image.channels, LOSSLESS_BYTES if lossless else SHEET_BYTES
        if size > most:
            kind, instead = ("lossless webp", "png, a quality, npy") if lossless else (self.wanted, "npy")
            raise InvalidRequestError(
                f"n is {n}; a contact sheet in {kind} has {most * n // size} images of this size at most: "
                f"ask for {instead}, zip or ndjson",
                "format",
            )


ROUTES: Final = (Route("/generate", serve_generate, methods=["GET", "POST"]),)
