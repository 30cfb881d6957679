"""Responses to HTTP/1.0, which proxies and measuring tools still speak: it has neither chunks nor `100 Continue`.

uvicorn sends chunks all the same, and their sizes would stand in the middle of an image (RFC 9112, 6.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent  # which a later uvicorn may have elsewhere

HTTP_1_0: Final = "1.0"


class UntilClosed(RequestResponseCycle):
    """A request of HTTP/1.0: a response whose length nobody knows goes on until the connection is closed, which uvicorn
    does after each response of that version."""

    _is_endless = False  # its length is unknown

    @classmethod
    def speak(cls, cycle: RequestResponseCycle) -> None:
        """Have uvicorn's cycle, which has not begun yet, answer like this."""
        cycle.__class__ = cls
        cycle.waiting_for_100_continue = False

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            self._is_endless = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            self.chunked_encoding = False if self._is_endless else None
        elif self._is_endless and message["type"] == "http.response.body":
            self.expected_content_length = len(message.get("body", b""))  # of this part: uvicorn counts
        await super().send(message)
