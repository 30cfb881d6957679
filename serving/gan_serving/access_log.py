"""The access log: one line of JSON for each request, on standard output."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Final, Literal

from .probes import PROBES
from .settings import Settings

LOGGER_NAME: Final = "ganworks.access"
QUIET_PATHS: Final = PROBES | {"/metrics"}
"""Asked every few seconds by machines; logged only with GAN_ACCESS_LOG=all."""
MAX_TEXT: Final = 256
"""Characters of one value; what a client wrote can't make a line longer."""
_WHOLE_BYTES: Final = 4096
"""What Linux writes into a pipe without mixing it with what other processes write (PIPE_BUF)."""


@dataclass(slots=True)
class AccessRecord:
    """One request, as it ended."""

    request_id: str
    method: str
    path: str  # without its query, which may hold anything
    route: str  # the route's template, or "other"
    status: int  # 499: the caller left before there was one
    seconds: float  # from the request's headers to the last byte of the response
    bytes: int  # of the response's body, that were sent
    model: str | None = None
    images: int = 0  # that were asked for
    key: str | None = None  # name of the API key
    client: str | None = None  # address

    def line(self, now: datetime) -> str:
        """The record as one line of JSON, without its end.

        Args:
            now: when the response ended, in UTC.
        """
        # Each request has a line, and json.dumps of a dict takes nearly twice as long.
        return (
            f'{{"time":"{now.isoformat(timespec="milliseconds")}","request_id":{_text(self.request_id)},'
            f'"client":{_text(self.client)},"key":{_text(self.key)},"method":{_text(self.method)},'
            f'"path":{_text(self.path)},"route":{_text(self.route)},"status":{self.status:d},'
            f'"seconds":{self.seconds:.6f},"bytes":{self.bytes:d},"model":{_text(self.model)},"images":{self.images:d}}}'
        )


def _text(value: str | None) -> str:
    """A value as JSON, in ASCII: it can't end the line."""
    return "null" if value is None else encode_basestring_ascii(value[:MAX_TEXT])


class AccessLog:
    """Writes records to standard output, as GAN_ACCESS_LOG says; the logger `ganworks.access` can turn it off.

    Lines that are written in one turn of the event loop leave together, and past the logger's handlers: under overload
    these took 9 % of the loop's samples in a profile, with a call of the system and a LogRecord for each line.
    """

    def __init__(self, mode: Literal["on", "off", "all"]) -> None:
        self._mode = mode
        self._logger = logging.getLogger(LOGGER_NAME)
        self._lines: list[str] = []  # of this turn

    @classmethod
    def from_settings(cls, settings: Settings) -> AccessLog:
        """The log of this process."""
        log = cls(settings.access_log)
        log._logger.setLevel(logging.INFO)
        log._logger.disabled = False
        return log

    def wants(self, path: str) -> bool:
        """Whether a request of this path is logged."""
        return self._mode == "all" or (self._mode == "on" and path not in QUIET_PATHS)

    def write(self, record: AccessRecord) -> None:
        """Log the request, if its path is logged."""
        if not self.wants(record.path) or not self._logger.isEnabledFor(logging.INFO):
            return
        self._lines.append(record.line(datetime.now(UTC)))
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._flush)
            except RuntimeError:  # no loop: nobody else will come
                self._flush()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        with suppress(OSError):  # whoever read standard output has gone; requests are answered all the same
            for piece in _pieces(lines):
                sys.stdout.write(piece)
                sys.stdout.flush()


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Whole lines, as many at a time as stay together where several workers share a pipe."""
    piece, size = list[str](), 0
    for line in lines:
        if piece and size + len(line) + 1 > _WHOLE_BYTES:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(f"{line}\n")
        size += len(line) + 1
    yield "".join(piece)
