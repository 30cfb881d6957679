"""The BentoML service: parses, asks the catalog, encodes. Everything else is in the modules beside it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import bentoml
from _bentoml_sdk.io_models import IODescriptor
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gan_client.types import GenerateRequest, GenerateResponse, ModelList

from .catalog import Catalog
from .encode import Batch, choose_format, encode
from .errors import ServiceError, UnknownModelError
from .guard import Guard, error_response
from .plan import make_plan, parse_request
from .preflight import check_before_serving

SETTINGS = check_before_serving()


@dataclass(frozen=True)
class _Received:
    """What BentoML hands to the API method: its one argument, which is a request or what is wrong with it."""

    request: GenerateRequest | ServiceError
    accept: str
    model_fields: ClassVar[tuple[str, ...]] = ("request", "accept")


class GenerateInput(GenerateRequest, IODescriptor):  # type: ignore[misc]
    """The request's schema for BentoML's OpenAPI page and its own client.

    Parsing is ours: an error that BentoML's parser finds would be answered in another shape than all others.
    """

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> Any:  # noqa: ARG003
        accept = request.headers.get("accept", "")
        try:
            return _Received(parse_request(await request.body(), SETTINGS.max_n), accept)
        except ServiceError as error:
            return _Received(error, accept)


async def list_models(request: Request) -> Response:
    """GET /models."""
    catalog: Catalog = request.app.state.catalog
    return Response(ModelList(models=catalog.list()).model_dump_json(), media_type="application/json")


async def show_model(request: Request) -> Response:
    """GET /models/{name}: the whole manifest, and `certificate`, the whole certificate."""
    catalog: Catalog = request.app.state.catalog
    try:
        generator = catalog.get(request.path_params["name"])
    except UnknownModelError as error:
        return error_response(error)
    content = generator.manifest.model_dump(mode="json")
    return JSONResponse(content | {"certificate": generator.certificate.model_dump(mode="json")})


pages = Starlette(routes=[Route("/models", list_models), Route("/models/{name}", show_model)])


@bentoml.asgi_app(pages)
@bentoml.service(
    name="ganworks",
    workers=SETTINGS.workers,
    # The guard's own deadline answers in our shape; BentoML's is only there in case it can't.
    traffic={"timeout": SETTINGS.timeout + 10},
)
class GanService:
    """Images from certified GAN generators: one seed, one image, to the byte."""

    def __init__(self) -> None:
        self.catalog = Catalog(SETTINGS)
        self.encoders = ThreadPoolExecutor(SETTINGS.encode_threads, thread_name_prefix="encode")
        pages.state.catalog = self.catalog

    @bentoml.api(route="/generate", input_spec=GenerateInput, output_spec=GenerateResponse)  # type: ignore[untyped-decorator]
    async def generate(self, request: GenerateRequest | ServiceError, accept: str) -> Response:
        """Generate images from seeds or latents; the response's form follows `format` or the Accept header."""
        try:
            if isinstance(request, ServiceError):
                raise request
            return await self._generate(request, accept)
        except ServiceError as error:
            return error_response(error)

    async def _generate(self, request: GenerateRequest, accept: str) -> Response:
        generator = self.catalog.get(request.model)
        manifest = generator.manifest
        plan = make_plan(request, manifest, SETTINGS.max_n)
        images = await generator.batcher.submit(plan.latents, plan.labels)
        batch = Batch(
            model=manifest.name,
            images=images,
            seeds=plan.seeds,
            labels=None if plan.labels is None else plan.labels.tolist(),
            class_names=manifest.class_names,
            columns=request.columns,
        )
        wanted = request.format or choose_format(accept)
        encoded = await asyncio.get_running_loop().run_in_executor(self.encoders, encode, batch, wanted)
        headers = {"X-Gan-Model": manifest.name}
        if plan.seeds is not None:
            headers["X-Gan-Seed"] = str(plan.seeds[0])
        return Response(encoded.body, headers=headers, media_type=encoded.media_type)


GanService.add_asgi_middleware(  # type: ignore[attr-defined]
    Guard, max_body=SETTINGS.max_body, timeout=SETTINGS.timeout
)
