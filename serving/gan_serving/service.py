"""The BentoML service: names the API, opens the desk, and puts the front before BentoML's application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import bentoml
from _bentoml_sdk import Service
from _bentoml_sdk.io_models import IODescriptor
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from gan_client.types import GenerateRequest, GenerateResponse

from . import generate, pages
from .catalog import Catalog
from .desk import Desk
from .errors import ServiceError
from .front import Front
from .guard import Guard, error_response
from .preflight import check_before_serving

SETTINGS = check_before_serving()
FRONT = Front([*generate.ROUTES, *pages.ROUTES])


@dataclass(frozen=True)
class _Received:
    """What BentoML hands to the API method: its arguments, as they came."""

    body: bytes
    accept: str
    model_fields: ClassVar[tuple[str, ...]] = ("body", "accept")


class GenerateInput(GenerateRequest, IODescriptor):  # type: ignore[misc]
    """The request's schema for BentoML's own client. Parsing is ours, so that all errors have one shape."""

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> Any:  # noqa: ARG003
        return _Received(await request.body(), request.headers.get("accept", ""))


class FrontedService(Service[Any]):  # type: ignore[misc]
    """A BentoML service whose workers meet requests at our front."""

    __slots__ = ()

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The worker's application."""
        inner = FRONT.before(super().to_asgi(is_main))
        return Guard(inner, max_body=SETTINGS.max_body, timeout=SETTINGS.timeout)


def fronted(service: Any) -> Any:
    """The same BentoML service, whose workers meet requests at our front."""
    service.__class__ = FrontedService
    return service


@fronted
@bentoml.service(
    name="ganworks",
    workers=SETTINGS.workers,
    # The guard's own deadline answers in our shape; BentoML's is only there in case it can't.
    traffic={"timeout": SETTINGS.timeout + 10},
)
class GanService:
    """Images from certified GAN generators: one seed, one image, to the byte."""

    def __init__(self) -> None:
        self.desk = FRONT.desk = Desk(SETTINGS, Catalog(SETTINGS))

    @bentoml.api(route="/generate", input_spec=GenerateInput, output_spec=GenerateResponse)  # type: ignore[untyped-decorator]
    async def generate(self, body: bytes, accept: str) -> Response:
        """Generate images from seeds or latents; the response's form follows `format` or the Accept header."""
        try:
            return await generate.answer(self.desk, body, accept)
        except ServiceError as error:
            return error_response(error)
