"""GET .../stats: what /metrics knows of one generator, or of all, in the words of Triton's statistics extension.

The counts are those of all workers. What is not measured is left out: `success` and `fail` would be requests, and
here images are counted.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import Response

from gan_serving.models.registry import VERSION
from gan_serving.worker.state import worker_of

from .answer import json_response
from .metadata import generator_of

_NANOSECONDS = 1e9


async def model_stats(request: Request) -> Response:
    """GET /v2/models/{name}[/versions/{version}]/stats."""
    return await _answer(request, [generator_of(request).manifest.name])


async def all_stats(request: Request) -> Response:
    """GET /v2/models/stats: those of every generator that is served."""
    return await _answer(request, [model.name for model in worker_of(request).catalog.list()])


async def _answer(request: Request, names: Sequence[str]) -> Response:
    metrics = worker_of(request).metrics
    sums = await asyncio.to_thread(lambda: samples_of(metrics.page()[0].decode()))  # it reads a file of every worker
    return json_response({"model_stats": [_stats(name, sums[name]) for name in names]})


def _stats(name: str, sums: dict[str, float]) -> dict[str, Any]:
    return {
        "name": name,
        "version": VERSION,
        "inference_count": round(sums["gan_images_total"]),
        "execution_count": round(sums["gan_batch_images_count"]),
        "inference_stats": {
            "queue": _duration(sums, "gan_queue_wait_seconds"),
            "compute_infer": _duration(sums, "gan_run_seconds"),
        },
    }


def samples_of(page: str) -> dict[str, dict[str, float]]:
    """Each generator's series by the name of their sample; of its images, those that were generated."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for family in text_string_to_metric_families(page):
        if not family.name.startswith("gan_"):
            continue
        for sample in family.samples:
            labels = sample.labels
            if "model" in labels and labels.get("outcome", "generated") == "generated":
                sums[labels["model"]][sample.name] += sample.value
    return sums


def _duration(sums: dict[str, float], series: str) -> dict[str, int]:
    return {"count": round(sums[f"{series}_count"]), "ns": round(sums[f"{series}_sum"] * _NANOSECONDS)}
