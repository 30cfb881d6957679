"""The process that starts the workers, and that SIGTERM and Ctrl-C are sent to."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import Any, Final

from circus.exc import ConflictError
from circus.sighandler import SysHandler
from circus.sockets import CircusSocket

RETRY_SECONDS: Final = 0.1


def mind_every_signal() -> None:
    """Have BentoML's process manager, circus, follow a signal to stop whenever it comes, and refuse connections then.

    It does one thing at a time and drops what it is asked for meanwhile: a signal that came while it started workers,
    or looked whether they live, was lost, and the service ran on until it was killed. And it keeps the listening
    sockets until its workers are gone: the system accepted connections for them all through the drain, which nobody
    answered.
    """
    SysHandler.quit = _quit


def _quit(self: Any) -> None:  # in place of SysHandler.quit, which asks once
    arbiter, loop = self.controller.arbiter, self.controller.loop

    def ask() -> None:
        try:
            arbiter.stop()
        except ConflictError:
            loop.call_later(RETRY_SECONDS, ask)
            return
        arbiter.sockets.close_all()  # no worker is started any more that would need them

    loop.add_callback_from_signal(ask)


def unavailable(host: str, port: int, error: OSError) -> str:
    """What to say of an address that can't be listened on."""
    if error.errno == errno.EADDRNOTAVAIL:
        advice = "give an address that this machine has with bentoml serve --host, or 0.0.0.0 for all"
    else:
        advice = "choose another port with bentoml serve --port"
    return f"can't listen on {host}:{port}: {error.strerror}; {advice}"


def tell_taken_port() -> None:
    """End the process with one line where circus can't listen: two services may have found the port free at once."""

    def told(method: Callable[..., None]) -> Callable[..., None]:
        def call(self: Any, *given: Any) -> None:
            try:
                method(self, *given)
            except OSError as error:
                print(f"bentoml serve: {unavailable(self.host, self.port, error)}", file=sys.stderr)
                sys.exit(1)

        return call

    # Not around its `bind_and_listen`, which logs the error too. Of two that are bound at once, one can't listen.
    CircusSocket.bind, CircusSocket.listen = told(CircusSocket.bind), told(CircusSocket.listen)
