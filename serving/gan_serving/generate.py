"""POST /generate: from the body to the response."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .desk import Desk, desk_of
from .encode import Batch, choose_format, encode
from .errors import ServiceError
from .guard import error_response
from .plan import make_plan, parse_request


async def post_generate(request: Request) -> Response:
    """POST /generate."""
    try:
        return await answer(desk_of(request), await request.body(), request.headers.get("accept", ""))
    except ServiceError as error:
        return error_response(error)


async def answer(desk: Desk, body: bytes, accept: str) -> Response:
    """The images that a request body asks for, in its format.

    Raises:
        ServiceError: of any kind.
    """
    asked = parse_request(body, desk.settings.max_n)
    generator = desk.catalog.get(asked.model)
    manifest = generator.manifest
    plan = make_plan(asked, manifest, desk.settings.max_n)
    images = await generator.batcher.submit(plan.latents, plan.labels)
    batch = Batch(
        model=manifest.name,
        images=images,
        seeds=plan.seeds,
        labels=None if plan.labels is None else plan.labels.tolist(),
        class_names=manifest.class_names,
        columns=asked.columns,
    )
    wanted = asked.format or choose_format(accept)
    encoded = await desk.in_encoders(lambda: encode(batch, wanted))
    headers = {"X-Gan-Model": manifest.name}
    if plan.seeds is not None:
        headers["X-Gan-Seed"] = str(plan.seeds[0])
    return Response(encoded.body, headers=headers, media_type=encoded.media_type)


ROUTES: Final = (Route("/generate", post_generate, methods=["POST"]),)
