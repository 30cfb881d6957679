"""POST /latents: the numbers that seeds stand for, so that a caller can move about between and around them."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gan_client.types import LatentsRequest, LatentsResponse
from gan_export.artifact import Manifest, draw
from gan_serving.call import current_call
from gan_serving.requests.fields import check_truncation
from gan_serving.requests.plan import parse_latents
from gan_serving.worker.leaving import unless_caller_leaves

from .handling import RequestContext, answered, parsed


async def post_latents(request: Request) -> Response:
    """POST /latents."""
    return await answered(request, answer)


async def answer(context: RequestContext) -> Response:
    """The latents and labels of a request's seeds; each counts as an image of the caller's rate limit.

    Args:
        context: with the JSON of a LatentsRequest.

    Raises:
        ServiceError: of any kind.
    """
    worker = context.worker
    asked = await parsed(context, partial(parse_latents, max_n=worker.settings.max_n))
    generator = worker.catalog.get(asked.model)
    manifest = generator.manifest
    check_truncation(asked.truncation, manifest)
    current_call().model = manifest.name
    worker.limiter.charge(context.caller, len(asked.seeds))
    text = await unless_caller_leaves(context.receive, worker.in_encoders(lambda: _drawn(asked, manifest)))
    made = {"X-Gan-Model": manifest.name, "X-Gan-Artifact": generator.identity}
    return Response(text, headers=made, media_type="application/json")


def _drawn(asked: LatentsRequest, manifest: Manifest) -> str:
    latent = manifest.latent
    drawn = draw(asked.seeds, latent.dim, latent.distribution, classes=manifest.classes, truncation=asked.truncation)
    # As doubles: their shortest decimals are read back as the same doubles, and so as the same float32 numbers.
    response = LatentsResponse.model_construct(
        model=manifest.name,
        latents=drawn.latents.tolist(),
        labels=None if drawn.labels is None else drawn.labels.tolist(),
    )
    return response.model_dump_json()


ROUTES: Final = (Route("/latents", post_latents, methods=["POST"]),)
