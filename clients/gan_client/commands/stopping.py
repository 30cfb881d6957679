"""Ending a command before its end."""

from __future__ import annotations

from typing import Final

INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
TERMINATED: Final = 143  # 128 + SIGTERM


class CommandStopped(BaseException):
    """Somebody ended the command: no error, and nothing that a handler of errors should catch."""

    def __init__(self, message: str, code: int) -> None:
        """`message` is the one line for stderr, `code` the exit code."""
        super().__init__(message)
        self.code = code
