"""Response bodies in the making: what is encoded where, and bodies of many parts."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive

from gan_client.types import Format
from gan_serving.call import current_call
from gan_serving.formats.batch import Batch
from gan_serving.formats.body_format import BodyFormat
from gan_serving.formats.encode import BODY_FORMATS, Encoded
from gan_serving.formats.sheet_formats import SHEET_FORMATS
from gan_serving.formats.stream_formats import STREAM_FORMATS, NdjsonStream
from gan_serving.middleware.error_response import cut_off
from gan_serving.worker.leaving import unless_caller_leaves
from gan_serving.worker.state import Worker

_T = TypeVar("_T")

INLINE_BYTES: Final = 4096
"""Of images that are encoded at once: handing over to another thread and back would take longer."""
INLINE_NPY_BYTES: Final = 2**20
"""The same for npy, which only copies."""
SLOW_BYTES: Final = 2**24
"""Of images, from which on a contact sheet is not encoded among what takes a moment: one of 16 MiB took 0.7 s as webp,
0.15 s as png."""


async def encoded(worker: Worker, wanted: Format, size: int, work: Callable[[], _T]) -> _T:
    """The result of encoding images, here or in another thread.

    Args:
        worker: whose threads and metrics these are.
        wanted: the format.
        size: bytes of the images.
        work: encodes them.
    """
    began = time.perf_counter()
    if size <= (INLINE_NPY_BYTES if wanted == "npy" else INLINE_BYTES):
        result = work()
    else:
        result = await worker.in_encoders(work, slow=size > SLOW_BYTES and wanted in SHEET_FORMATS)
    worker.metrics.encoded(wanted, time.perf_counter() - began)
    return result


@dataclass(frozen=True, slots=True)
class ManyImages:
    """The images of one response, which come in parts; each is let go once it is encoded."""

    worker: Worker
    wanted: Format
    model: str
    n: int  # of all parts together
    batches: AsyncGenerator[Batch, None]

    async def whole(self) -> Encoded:
        """The body, once it is complete."""
        body = BODY_FORMATS[self.wanted](self.model)
        pieces = [body.begin(self.n)]
        async with aclosing(self.batches):
            async for batch in self.batches:
                pieces.append(await self._fed(body, batch))
        pieces.append(await encoded(self.worker, self.wanted, body.kept, body.end))
        return Encoded(b"".join(filter(None, pieces)), body.media_type)  # a single piece is not copied

    async def streamed(self, receive: Receive, headers: dict[str, str]) -> Response:
        """A response that is sent as the images come; it begins when the first ones are there."""
        first = await unless_caller_leaves(receive, anext(self.batches))
        body = STREAM_FORMATS[self.wanted](self.model)
        return StreamingResponse(self._sent(body, first), headers=headers, media_type=body.media_type)

    async def _sent(self, body: BodyFormat, first: Batch) -> AsyncIterator[bytes]:
        try:
            opening = body.begin(self.n)
            yield opening + await self._fed(body, first)
            async for batch in self.batches:
                yield await self._fed(body, batch)
            yield body.end()
        except Exception as error:
            if not isinstance(body, NdjsonStream):
                raise  # the connection closes before the end, so that nobody takes a part for the whole
            yield body.fail(cut_off(error), current_call().request_id)
        finally:
            await self.batches.aclose()

    async def _fed(self, body: BodyFormat, part: Batch) -> bytes:
        return await encoded(self.worker, self.wanted, part.images.nbytes, partial(body.feed, part))
