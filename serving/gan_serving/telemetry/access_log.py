"""The access log: one line of JSON for each request, on standard output."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Final, Literal

from gan_serving.probes import UNCOUNTED
from gan_serving.process.output import OUTPUT, Output
from gan_serving.settings import Settings

LOGGER_NAME: Final = "ganworks.access"
MAX_TEXT: Final = 256
"""Characters of one value; what a client wrote can't make a line longer."""


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

    Lines go past the logger's handlers: under overload these took 9 % of the loop's samples in a profile, with a call
    of the system and a LogRecord for each line.

    Args:
        mode: which requests are logged.
        output: takes the lines.
    """

    def __init__(self, mode: Literal["on", "off", "all"], output: Output = OUTPUT) -> None:
        self._mode = mode
        self._logger = logging.getLogger(LOGGER_NAME)
        self._output = output

    @classmethod
    def from_settings(cls, settings: Settings, output: Output = OUTPUT) -> AccessLog:
        """The log of this process."""
        log = cls(settings.access_log, output)
        log._logger.setLevel(logging.INFO)
        log._logger.disabled = False
        return log

    def wants(self, path: str) -> bool:
        """Whether a request of this path is logged."""
        is_meant = self._mode == "all" or (self._mode == "on" and path not in UNCOUNTED)
        return is_meant and self._logger.isEnabledFor(logging.INFO)

    def write(self, record: AccessRecord) -> None:
        """Log a request that is wanted."""
        self._output.write(record.line(datetime.now(UTC)) + "\n")
