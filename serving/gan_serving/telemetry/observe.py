"""Every request as metrics and as a line of the access log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from gan_serving.call import Call
from gan_serving.errors import CallerLeftError
from gan_serving.probes import PROBES

from .access_log import AccessLog, AccessRecord
from .metrics import Metrics

BENTOML_PATHS: Final = PROBES | {"/", "/schema.json", "/docs.json"}
"""Paths without a route of ours; the probes among them that have one too make no difference."""
OTHER: Final = "other"


class Requests:
    """The guard's observer."""

    def __init__(self, metrics: Metrics, log: AccessLog, routes: Iterable[BaseRoute]) -> None:
        self._metrics = metrics
        self._log = log
        own = [route for route in routes if isinstance(route, Route)]
        self._paths: dict[object, str] = {route.endpoint: route.path for route in own}
        # What the guard refused has met no route; a path without parameters tells it all the same.
        self._fixed = BENTOML_PATHS | {route.path for route in own if "{" not in route.path}

    def begin(self) -> None:
        """A request came."""
        self._metrics.begin()

    def end(self, scope: Scope, call: Call, seconds: float) -> None:
        """It was answered, or its caller left."""
        status, route, path = call.status or CallerLeftError.status, self.route(scope), scope["path"]
        self._metrics.end(route, status, seconds)
        if call.code is not None and path not in PROBES:  # whose no is an answer like any other
            self._metrics.rejected(call.code)
        if self._log.wants(path):
            client, method = scope.get("client"), scope["method"]
            self._log.write(
                AccessRecord(
                    call.request_id, method, path, route, status, seconds, 0 if method == "HEAD" else call.sent,
                    call.model, call.images, call.key, client[0] if client else None,
                )
            )  # fmt: skip

    def route(self, scope: Scope) -> str:
        """The route's path; never what somebody wrote into a URL."""
        path: str = scope["path"]
        return path if path in self._fixed else self._paths.get(scope.get("endpoint"), OTHER)
