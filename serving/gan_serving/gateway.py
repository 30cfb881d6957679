"""In front of BentoML's application: our routes are answered here, and the rest is handed on.

BentoML's own layers (tracing, metrics by raw path, a task for each timeout) take longer than generating a small image
does. They stay in place for its pages; a request for images meets the guard, one route and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import Final, TypeGuard

from bentoml._internal.configuration.containers import BentoMLContainer
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from .connections.accept import Backlog
from .connections.connection import install as install_protocol
from .errors import QueueFullError
from .middleware.api_keys import Keys
from .middleware.cors import allowed_origins, with_cors
from .middleware.foreign_pages import COSTLY, ForeignPages
from .middleware.guard import Guard
from .middleware.rate_limit import RateLimiter
from .middleware.v2_errors import ProtocolErrors
from .probes import PROBES
from .settings import Settings
from .telemetry.access_log import AccessLog
from .telemetry.metrics import Metrics, metrics
from .telemetry.observe import Requests
from .telemetry.tracing import exporter
from .worker.state import SCOPE_KEY, Worker

_DRAWING: Final = COSTLY | {("POST", "/generate"), ("POST", "/interpolate")}


class Gateway:
    """Makes the worker's ASGI application. `worker` is set when the worker has loaded its generators, before requests;
    so is the backlog's server."""

    def __init__(self, settings: Settings, routes: Sequence[BaseRoute]) -> None:
        self.settings = settings
        self.worker: Worker | None = None
        self.backlog = Backlog()
        self.limiter = RateLimiter.from_settings(settings)
        self._keys = Keys.from_settings(settings)
        self._routes = list(routes)

    def before(self, bento: ASGIApp) -> ASGIApp:
        """The application of a worker: these routes, and behind them BentoML's `bento`."""
        router = Router(self._routes, redirect_slashes=False, default=bento)
        fixed = {
            (method, route.path): route.endpoint
            for route in self._routes
            if _is_fixed(route)
            for method in route.methods or ()
        }

        async def routed(scope: Scope, receive: Receive, send: Send) -> None:
            scope[SCOPE_KEY] = self.worker
            endpoint = fixed.get((scope["method"], scope["path"]))
            if endpoint is None:
                await router(scope, receive, send)
                return
            # Starlette's router would try one route after the other, and wrap the call twice in handlers of errors
            # that the guard handles.
            scope["endpoint"] = endpoint
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

        series: Metrics = metrics(alone=self.settings.workers == 1)
        install_protocol(self.settings, self.backlog, series.rejected)
        guard = Guard(
            routed,
            max_body=self.settings.max_body,
            max_bodies=self.settings.max_bodies,
            timeout=self.settings.timeout,
            body_timeout=self.settings.body_timeout,
            keys=self._keys,
            limiter=self.limiter,
            observer=Requests(series, AccessLog.from_settings(self.settings), self._routes),
            refusal=self._refusal,
            pages=ForeignPages(allowed_origins(self.settings)),
            is_draining=lambda: self.worker is not None and self.worker.draining,
            paths=sorted(PROBES.union(route.path for route in self._routes if isinstance(route, Route))),
        )
        outermost = _traced(with_cors(ProtocolErrors(guard), self.settings))

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await (outermost if scope["type"] == "http" else bento)(scope, receive, send)

        return application

    def _refusal(self, scope: Scope) -> QueueFullError | None:
        """The answer to a request for new images while there is no room for them."""
        if (scope["method"], scope["path"]) not in _DRAWING or self.worker is None:
            return None
        refusal = self.worker.catalog.refusal()
        if refusal is not None and (self.worker.cache.capacity or "if-none-match" in Headers(scope=scope)):
            return None  # it may need no new images
        return refusal


def _is_fixed(route: BaseRoute) -> TypeGuard[Route]:
    """Whether a route is a function of ours under one path."""
    return isinstance(route, Route) and "{" not in route.path and iscoroutinefunction(route.endpoint)


def _traced(app: ASGIApp) -> ASGIApp:
    """The application with a span for each request, if BentoML's configuration names a tracing exporter."""
    if exporter() is None:
        return app
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    provider = BentoMLContainer.tracer_provider.get()
    excluded = BentoMLContainer.tracing_excluded_urls.get()
    traced: ASGIApp = OpenTelemetryMiddleware(app, excluded_urls=excluded, tracer_provider=provider)
    return traced
