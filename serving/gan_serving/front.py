"""In front of BentoML's application: our routes are answered here, and the rest is handed on.

BentoML's own layers (tracing, metrics by raw path, a task for each timeout) take longer than generating a small image
does. They stay in place for its pages; a request for images meets the guard, one route and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from .desk import SCOPE_KEY, Desk


class Front:
    """ASGI application. `desk` is set once the worker has loaded its generators, before any request comes."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self.desk: Desk | None = None
        self._routes = list(routes)

    def before(self, bento: ASGIApp) -> ASGIApp:
        """The application of a worker: these routes, and behind them BentoML's `bento`."""
        router = Router(self._routes, redirect_slashes=False, default=bento)

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await bento(scope, receive, send)
                return
            scope[SCOPE_KEY] = self.desk
            await router(scope, receive, send)

        return application
