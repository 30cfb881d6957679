"""Errors under /v2 in the protocol's own shape.

The protocol says that `error` is a string, and this service says everywhere that it is an object. Both can't stand
under one key, and Triton's client decides which: it takes whatever `error` is for its exception's message, and
`str()` of an exception whose message is an object raises a TypeError of its own, so that a caller who prints it
never learns what was wrong. So under /v2, and nowhere else, our shape is laid flat around the string:

    {"error": message, "code": code, "param": param, "request_id": id}

Nothing of it is lost, the id stands where it always does, and a client of the protocol reads what it expects. This is
done outside of everything else, for the errors of the guard (too large, too late, no key) are answers to the same
client; connections/refusal.py does it where a request is refused before the guard sees it. A message says all that is
needed; `code` is for programs.
"""

from __future__ import annotations

import json
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gan_client.types import ErrorBody

PREFIX: Final = "/v2"


def is_protocols(path: str) -> bool:
    """Whether the path is the protocol's own."""
    return path == PREFIX or path.startswith(PREFIX + "/")


class ProtocolErrors:
    """ASGI middleware outside of the guard: under /v2 it lays the guard's errors flat; the rest it leaves alone."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_protocols(scope["path"]):
            send = _Flat(send)
        await self.app(scope, receive, send)


class _Flat:
    """The `send` that the guard sees."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.start: Message | None = None  # of an error, until its body is whole
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self.start = message
        elif message["type"] == "http.response.body" and self.start is not None:
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                body, start = flat(self.body), self.start
                MutableHeaders(scope=start)["content-length"] = str(len(body))
                await self.send(start)
                await self.send({"type": "http.response.body", "body": body})
        else:
            await self.send(message)


def flat(body: bytes) -> bytes:
    """An error in the service's shape -> the same in the protocol's."""
    said = ErrorBody.model_validate_json(body)
    detail = said.error
    laid = {"error": detail.message, "code": detail.code, "param": detail.param, "request_id": said.request_id}
    return json.dumps(laid, separators=(",", ":")).encode()
