"""GET .../stats: what /metrics knows of one generator, in the words of Triton's statistics extension.

The counts are those of all workers. What is not measured is left out: `success` and `fail` would be requests, and
here images are counted.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import Response

from gan_serving.catalog import VERSION
from gan_serving.worker import worker_of

from .answer import json_response
from .metadata import generator_of

_NANOSECONDS = 1e9


async def model_stats(request: Request) -> Response:
    """GET /v2/models/{name}[/versions/{version}]/stats."""
    name = generator_of(request).manifest.name
    text, _ = await asyncio.to_thread(worker_of(request).metrics.page)  # it reads a file of every worker
    sums = samples_of(text.decode(), name)
    stats = {
        "name": name,
        "version": VERSION,
        "inference_count": round(sums["gan_images_total"]),
        "execution_count": round(sums["gan_batch_images_count"]),
        "inference_stats": {
            "queue": _duration(sums, "gan_queue_wait_seconds"),
            "compute_infer": _duration(sums, "gan_run_seconds"),
        },
    }
    return json_response({"model_stats": [stats]})


def samples_of(page: str, model: str) -> dict[str, float]:
    """The series of one generator by the name of their sample; of its images, those that were generated."""
    sums: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(page):
        if not family.name.startswith("gan_"):
            continue
        for sample in family.samples:
            labels = sample.labels
            if labels.get("model") == model and labels.get("outcome", "generated") == "generated":
                sums[sample.name] += sample.value
    return sums


def _duration(sums: dict[str, float], series: str) -> dict[str, int]:
    return {"count": round(sums[f"{series}_count"]), "ns": round(sums[f"{series}_sum"] * _NANOSECONDS)}
