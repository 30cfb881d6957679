"""The Open Inference Protocol v2 over HTTP, with binary tensors: what `tritonclient[http]` speaks.

    GET  /v2, /v2/health/live, /v2/health/ready
    GET  /v2/models/{name}[/versions/{version}], .../ready, .../config, .../stats
    GET  /v2/models/stats, of all; a generator of that name has the rest of its addresses
    POST /v2/models/{name}[/versions/{version}]/infer
    POST /v2/repository/index, /v2/repository/models/{name}/load, .../unload

Inputs are those of the artifact: `z` FP32 [N, latent_dim] and, for a conditional generator, `label` INT64 [N]; or
`seed` INT64 or UINT64 [N] instead of `z`, which draws the same latents as /generate does, and the label too unless
one is given. The output is `image` UINT8 [N, C, H, W], the bytes that /generate encodes for the same latents.

A request may be compressed; answers are not: most HTTP clients ask for compression without meaning it, and raw pixels
gain little for the time it takes. Whoever wants small answers asks /generate for PNG.

Source: Open Inference Protocol (KServe), and Triton's extensions binary_tensor_data, model_configuration,
model_repository and statistics.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .infer import post_infer
from .metadata import live, model_config, model_metadata, model_ready, ready, server_metadata
from .repository import index, load, unload
from .statistics import all_stats, model_stats

_Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def _of_model(rest: str, handler: _Handler, method: str = "GET") -> tuple[Route, Route]:
    return (
        Route(f"/v2/models/{{name}}/versions/{{version}}{rest}", handler, methods=[method]),
        Route(f"/v2/models/{{name}}{rest}", handler, methods=[method]),
    )


ROUTES: Final = (
    *_of_model("/infer", post_infer, "POST"),
    Route("/v2", server_metadata),
    Route("/v2/health/live", live),
    Route("/v2/health/ready", ready),
    Route("/v2/models/stats", all_stats),
    *_of_model("", model_metadata),
    *_of_model("/ready", model_ready),
    *_of_model("/config", model_config),
    *_of_model("/stats", model_stats),
    Route("/v2/repository/index", index, methods=["POST"]),
    Route("/v2/repository/models/{name}/load", load, methods=["POST"]),
    Route("/v2/repository/models/{name}/unload", unload, methods=["POST"]),
)
