"""What a connection may take of the service: seconds, bytes, places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gan_serving.settings import Settings


@dataclass(frozen=True)
class Limits:
    """The limits of one connection, and of their number."""

    header_timeout: float  # seconds
    send_timeout: float  # seconds
    max_header: int  # bytes
    max_stream: int  # bytes after the headers of one request, framing and trailers included
    max_connections: int  # of one worker; 0: any number
    refused: Callable[[str], None]
    """Is told the code of every refusal, for the metrics."""

    @classmethod
    def from_settings(cls, settings: Settings, refused: Callable[[str], None]) -> Limits:
        """Those that the environment names."""
        return cls(
            header_timeout=settings.header_timeout,
            send_timeout=settings.send_timeout,
            max_header=settings.max_header,
            max_stream=2 * settings.max_body + 2**20,
            max_connections=settings.max_connections,
            refused=refused,
        )
