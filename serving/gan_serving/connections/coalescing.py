"""One write for a small response, where uvicorn makes two."""

from __future__ import annotations

import asyncio
from typing import Final

_CONTINUE: Final = b"HTTP/1.1 100 "


class CoalescingTransport:
    """A transport that sends the head of a response with the first piece of its body.

    uvicorn writes them one after the other, which are two calls of the system and two packets for each response. A head
    whose body doesn't come in the same turn of the event loop leaves at the end of it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""
        self._began = False

    def write(self, data: bytes) -> None:
        """Send, or keep the head of a response until its body begins; `100 Continue` goes at once."""
        if self._began:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(_CONTINUE):
            self._transport.write(data)
        else:
            self._began, self._head = True, data
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
