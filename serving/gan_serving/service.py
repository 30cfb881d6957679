"""The BentoML service: names the API, sets up the worker, and puts the gateway before BentoML's application."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import bentoml
from _bentoml_sdk import Service
from _bentoml_sdk.io_models import IODescriptor
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message

from gan_client.types import GenerateRequest, GenerateResponse

from .connections.connection_counts import counts_of_environment
from .endpoints import generate, interpolate, latents, openapi, pages, playground, system
from .endpoints.handling import RequestContext
from .errors import ServiceError
from .gateway import Gateway
from .middleware.error_response import error_response
from .models.catalog import Catalog
from .preflight import check_before_serving, check_configuration
from .process import drain
from .process.interpreter import settle
from .process.output import OUTPUT, write_logs_aside
from .telemetry import tracing
from .telemetry.metrics import metrics
from .v2 import routes as v2_routes
from .worker.state import Worker

SETTINGS = check_before_serving()
GATEWAY = Gateway(
    SETTINGS,
    [
        *generate.ROUTES, *interpolate.ROUTES, *latents.ROUTES, *pages.ROUTES, *v2_routes.ROUTES, *openapi.ROUTES,
        *playground.ROUTES, *system.ROUTES,
    ],
)  # fmt: skip


@dataclass(frozen=True)
class _Received:
    """What BentoML hands to the API method: its argument, as it came."""

    body: bytes
    model_fields: ClassVar[tuple[str, ...]] = ("body",)


class GenerateInput(GenerateRequest, IODescriptor):  # type: ignore[misc]
    """The request's schema for BentoML's own client. Parsing is ours, so that all errors have one shape."""

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> Any:  # noqa: ARG003
        """The body as it came, not parsed."""
        return _Received(await request.body())


async def _nobody_leaves() -> Message:
    """For calls that come through no connection."""
    await asyncio.Event().wait()
    raise AssertionError("an event that nobody sets was set")


class GatewayService(Service[Any]):  # type: ignore[misc]
    """A BentoML service whose workers meet requests at our gateway."""

    __slots__ = ()

    def inject_config(self) -> None:
        """Merge the service's configuration into BentoML's, before it is served."""
        super().inject_config()
        check_configuration(SETTINGS)

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The worker's application."""
        bento = super().to_asgi(is_main)
        # The timer of this layer keeps each request, long after its answer. The guard has a deadline of its own.
        bento.user_middleware = [each for each in bento.user_middleware if each.cls is not TimeoutMiddleware]
        return GATEWAY.before(bento)


def behind_gateway(service: Any) -> Any:
    """The same BentoML service, whose workers meet requests at our gateway."""
    service.__class__ = GatewayService
    return service


@behind_gateway
@bentoml.service(
    name="ganworks",
    workers=SETTINGS.workers,
    # /metrics and the access log are ours: theirs have a series for every path that anybody asks for.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class GanService:
    """Images from certified GAN generators: one seed, one image, to the byte."""

    def __init__(self) -> None:
        drain.stop_with_parent()
        series = metrics(alone=SETTINGS.workers == 1)
        catalog = Catalog(SETTINGS, recorder=series.model, on_event=self._count, is_stopping=drain.is_stopping)
        self.worker = GATEWAY.worker = Worker(SETTINGS, catalog, series, GATEWAY.limiter)
        series.loaded(len(catalog))
        GATEWAY.backlog.server = drain.install(SETTINGS.drain, self.worker.drain)
        GATEWAY.backlog.counts = counts_of_environment(SETTINGS.workers)

    def _count(self, kind: str, model: str) -> None:  # noqa: ARG002 - models come and go, series stay
        series = self.worker.metrics
        series.reloaded(kind)
        series.loaded(len(self.worker.catalog))

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def watch(self) -> None:
        """Begin to look for new artifacts, and to serve without pauses."""
        write_logs_aside()
        await self.worker.catalog.start()
        settle()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def close(self) -> None:
        """Let go of what runs beside the requests."""
        await self.worker.catalog.close()
        self.worker.close()
        await asyncio.to_thread(tracing.flush)
        await asyncio.to_thread(OUTPUT.close)

    @bentoml.api(route="/generate", input_spec=GenerateInput, output_spec=GenerateResponse)  # type: ignore[untyped-decorator]
    async def generate(self, body: bytes) -> Response:
        """Generate images from seeds or latents; the response's form follows `format` or the Accept header."""
        try:
            return await generate.answer(RequestContext(self.worker, body, Headers(), _nobody_leaves, caller=""))
        except ServiceError as error:
            return error_response(error)
