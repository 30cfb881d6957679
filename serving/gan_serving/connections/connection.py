"""Connections that are not worth their place: too slow, too large, too many.

uvicorn waits for ever for the end of a request's headers, keeps as much of them as is sent, and queues as many
pipelined requests as come. `install` puts a protocol of ours in its place that doesn't. What is limited:

    headers   GAN_HEADER_TIMEOUT seconds from the opening of the connection, or from the first byte of a later request;
              GAN_MAX_HEADER bytes, which answers 431
    trailers  GAN_MAX_HEADER bytes; nobody here reads them
    body      GAN_BODY_TIMEOUT seconds (middleware/body.py), and in bytes twice the largest body, with all of its
              framing
    response  GAN_SEND_TIMEOUT seconds in which the client takes nothing of it
    pipeline  32 requests
    worker    GAN_MAX_CONNECTIONS connections, above which the newest gets 503 for all but a probe (overflow.py)

A connection has one timer, which looks at it once in a while; a request that comes at once costs no timer at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

from uvicorn.config import Config
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gan_serving.errors import (
    HeadersTooLargeError,
    InvalidRequestError,
    ServiceError,
    TooManyConnectionsError,
)
from gan_serving.settings import Settings

from .accept import Backlog
from .coalescing import CoalescingTransport
from .heads import HEADER_FRAME, host_problem, size_of
from .limits import Limits
from .overflow import SECONDS as SPARE_SECONDS
from .overflow import Overflow, is_answered
from .refusal import on_the_wire, refusal
from .until_closed import HTTP_1_0, UntilClosed

MAX_PIPELINED: Final = 32
"""Requests of one connection that wait for an earlier one's response."""
_WATCHED: Final = MAX_PIPELINED // 2
"""With more of them, nothing is read any more, as uvicorn does with one; but then a client that hangs up isn't seen."""
LINGER: Final = 1.0
"""Seconds for which a refused client's bytes are thrown away: closing at once could cost it our answer."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with limits."""

    limits: ClassVar[Limits]
    backlog: ClassVar[Backlog]
    overflow: ClassVar[Overflow]
    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # None until there is a request

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        leads: bool = True,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.url = b""  # of the newest request, as far as it has come
        self.ws_protocol_class = None  # the service has no WebSocket, and these limits wouldn't hold for one
        # uvicorn would put together a line for each request before the logger drops it.
        self.access_log = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        self._is_spare = False  # one too many
        self._leads = leads  # accepted by the loop itself: others may wait behind it
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None  # the loop's time at which awaited headers must be complete
        self._arrived = 0  # bytes that are being parsed
        self._header_bytes = 0  # of headers that are not complete yet
        self._stream_bytes = 0  # after the headers of the current request
        self._complete: list[tuple[bytes, bytes]] | None = None  # headers of the current request, once all are there
        self._trailer_bytes = 0  # of the current request
        self._ahead: list[RequestResponseCycle] = []  # of the current one, whose answers it had to wait for
        self._refused = False
        self._unsent = -1  # bytes that the client didn't take since ...
        self._unsent_since = 0.0  # ... this time of the loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, and those that wait behind it; one too many may ask for a probe alone."""
        super().connection_made(transport)
        most = self.limits.max_connections
        seconds = self.limits.header_timeout
        if most and len(self.connections) > most:
            self._is_spare = True
            self.connections.discard(self)
            self.overflow.add(self)
            seconds = min(seconds, SPARE_SECONDS)
        self.backlog.count(len(self.connections))
        self._due = self.loop.time() + seconds
        self._timer = self.loop.call_at(self._due, self._look)
        if self._leads and not self._is_spare:
            follower = partial(type(self), self.config, self.server_state, self.app_state, self.loop, leads=False)
            self.backlog.take(follower, most)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request under way too, of which uvicorn does not know once another one waits behind it."""
        super().connection_lost(exc)
        self.overflow.discard(self)
        self.pipeline.clear()
        for cycle in self._ahead:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._ahead.clear()
        self._unset_keepalive_if_required()  # uvicorn leaves a reset connection's timer, which keeps it for seconds
        self.backlog.count(len(self.connections))
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse, and count: headers that are not complete, and bytes after them, up to the limits."""
        if self._refused:
            return
        before = self.scope
        self._arrived = len(data)
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            self._stream_bytes += len(data)
            if self._stream_bytes > self.limits.max_stream:
                self._cut("stream_too_large")
        else:
            # Bytes before the headers, in the same piece, can't be told from them: another piece will tell.
            self._await_headers(len(data) if cycle is None or before is self.scope else 0)

    def _await_headers(self, size: int) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._header_bytes += size
        if self._header_bytes > self.limits.max_header:
            self._refuse(self._headers_too_large())
        elif self._due is None:
            self._due = self.loop.time() + self.limits.header_timeout

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers come here too, which are no headers of the request (RFC 9110, 6.5.1).

        Raises ConnectionAbortedError for trailers that are too large.
        """
        if self.headers is self._complete:
            self._trailer_bytes += len(name) + len(value) + HEADER_FRAME
            if self._trailer_bytes > self.limits.max_header:
                self._cut("trailers_too_large")
                raise ConnectionAbortedError  # ends the parsing of what has come already
            return
        # What uvicorn does, without another call for each header.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """A request begins, or its refusal: with 431 where its headers are too large, with 400 for a wrong Host.

        Raises ConnectionAbortedError for too many requests that were sent without waiting for answers.
        """
        complaint = self._complaint()
        if complaint is not None:
            self.app = refusal(complaint, self.url)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._cut("pipelined")
            raise ConnectionAbortedError  # ends the parsing of what has come already
        self._stream_bytes = self._trailer_bytes = 0
        self._complete = self.headers
        before = self.cycle
        if before is not None and not before.response_complete:
            self._ahead = [*(cycle for cycle in self._ahead if not cycle.response_complete), before]
        super().on_headers_complete()
        if 0 < len(self.pipeline) <= _WATCHED:
            self.flow.resume_reading()
        if self.cycle is not None and self.cycle is not before:
            self.cycle.transport = CoalescingTransport(self.transport, self.loop)  # type: ignore[assignment]  # all that a cycle uses
            # uvicorn tells the connections that it knows when it stops; one that was being accepted isn't among them.
            self.cycle.keep_alive &= not (self.backlog.is_closed or self._is_spare)
            if self.scope["http_version"] == HTTP_1_0:
                UntilClosed.speak(self.cycle)

    def _complaint(self) -> ServiceError | None:
        """Why a request whose headers are complete is answered before anybody looks at it; None: it isn't."""
        method, most = self.parser.get_method(), self.limits.max_header
        is_measured = self._due is not None or self._arrived > most
        if is_measured:
            self._due, self._header_bytes = None, 0
        if self._is_spare and not is_answered(method, self.url):
            return self._too_many()
        if is_measured and size_of(method, self.url, self.headers) > most:
            return self._headers_too_large()
        problem = host_problem(self.headers, self.parser.get_http_version())
        return None if problem is None else self._invalid(problem, "Host")

    def _headers_too_large(self) -> ServiceError:
        self.limits.refused(HeadersTooLargeError.code)
        return HeadersTooLargeError(
            f"request line and headers are longer than {self.limits.max_header} bytes; send less (GAN_MAX_HEADER)"
        )

    def _too_many(self) -> ServiceError:
        self.limits.refused(TooManyConnectionsError.code)
        most = self.limits.max_connections
        return TooManyConnectionsError(f"this worker has {most} connections, the most it takes; try again later", 1)

    def turn_away(self) -> None:
        """Refuse a connection too many, and close it; without waiting, as there may be thousands."""
        if self._answering or self._refused:
            self.transport.abort()
        elif not self.transport.is_closing():
            self._write(self._too_many())
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            self._refuse(self._invalid(f"{msg.rstrip('.')}; this port speaks HTTP/1.1"))

    def _invalid(self, message: str, param: str | None = None) -> ServiceError:
        self.limits.refused(InvalidRequestError.code)
        return InvalidRequestError(message, param)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, error: ServiceError) -> None:
        """Answer and close, but give the client time to read that."""
        if self._answering:
            self.transport.abort()  # anything that we wrote now would be taken for a part of an earlier response
            return
        self._refused = True
        self._write(error)
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self._schedule(self.loop.time() + LINGER, self.transport.abort)

    def _write(self, error: ServiceError) -> None:
        self.transport.write(on_the_wire(refusal(error, self.url), self.server_state.default_headers))

    def _cut(self, code: str) -> None:
        self.limits.refused(code)
        self.transport.abort()

    def _schedule(self, when: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(when, callback)

    def _look(self) -> None:
        """Close the connection if its client had its time; look again later otherwise."""
        now = self.loop.time()
        later = now + self.limits.header_timeout
        if self.flow.write_paused or self.transport.is_closing():
            self._look_at_writing(now)
        elif self._answering:
            if self._due is not None:
                self._due = later  # the next request's headers have begun, but this response is worth more
        elif self._due is None:
            if self.timeout_keep_alive_task is None:
                # Bytes came that begin no request, which made uvicorn forget its own timer: line ends, or the rest of
                # a body that was answered before its end.
                self._due = later
        elif now < self._due:
            later = self._due
        elif self._is_spare:
            self.turn_away()
        else:
            self._cut("header_timeout")
        self._schedule(later, self._look)

    def _look_at_writing(self, now: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since >= self.limits.send_timeout:
            self._cut("send_timeout")

    def resume_writing(self) -> None:
        self._unsent = -1  # the same number again wouldn't mean that nothing was taken
        super().resume_writing()


def guarded_protocol(limits: Limits, backlog: Backlog) -> type[GuardedProtocol]:
    """A protocol class for `uvicorn.Config(http=...)`."""
    own = {"limits": limits, "backlog": backlog, "overflow": Overflow()}
    return type("GuardedProtocol", (GuardedProtocol,), own)


def install(settings: Settings, backlog: Backlog, refused: Callable[[str], None] = lambda _: None) -> None:
    """Make it the protocol of every uvicorn server of this process whose configuration is not loaded yet.

    Args:
        settings: the limits.
        backlog: where connections wait.
        refused: is told the code of every connection that is refused or cut.
    """
    auto.AutoHTTPProtocol = guarded_protocol(Limits.from_settings(settings, refused), backlog)
