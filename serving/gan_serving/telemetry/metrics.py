"""What operators see at /metrics: queue, batches and rejections in images, and requests by route.

BentoML's names for requests are kept, so that its dashboards go on working, but `endpoint` is a route and never what
somebody wrote into a URL: a flood of random paths adds no series.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, Final

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context

from .metric_files import reserve, settled

_RUN_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
_WAIT_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
_IMAGE_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_WATCHED: Final = (
    "queue_full", "too_many_connections", "too_many_bodies", "deadline", "generation_failed", "internal", "not_ready",
)  # fmt: skip
"""Codes of errors that the alerts of serving/deploy ask for."""


class ModelMetrics:
    """What one queue of a generator tells. An older version that is finishing its requests has the same series."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._queue = metrics.queue.labels(model=model)
        self._waiting = 0  # of this queue, as it is in the series
        self._wait = metrics.wait.labels(model=model)
        self._batch = metrics.batch.labels(model=model)
        self._run = metrics.run.labels(model=model)
        self._images = {
            outcome: metrics.images.labels(model=model, outcome=outcome)
            for outcome in ("generated", "failed", "dropped")
        }

    def queued(self, waiting: int) -> None:
        """Images that wait now in this queue; the series is the sum of all queues of the generator."""
        self._queue.inc(waiting - self._waiting)
        self._waiting = waiting

    def started(self, waited: float) -> None:
        """A request's first image left the queue after `waited` seconds."""
        self._wait.observe(waited)

    def ran(self, images: int, seconds: float) -> None:
        """One run of the session."""
        self._batch.observe(images)
        self._run.observe(seconds)
        self._images["generated"].inc(images)

    def failed(self, images: int) -> None:
        """Images that could not be generated."""
        self._images["failed"].inc(images)

    def dropped(self, images: int) -> None:
        """Images that left the queue uncomputed, because nobody waited for them any more."""
        self._images["dropped"].inc(images)


def _client(alone: bool) -> Any:
    """BentoML's Prometheus client, with values in memory, or in the files that all workers share."""
    client = BentoMLContainer.metrics_client.get()
    values = client.prometheus_client.values
    # The class was chosen when the module was imported, which may be long ago.
    if alone or not reserve():
        client.multiproc = False
        values.ValueClass = values.MutexValue
        client.prometheus_client.disable_created_metrics()  # a series more for each; several workers have none
    else:
        worker = os.getpid()  # asked once: no worker forks, and the client asks with every value
        values.ValueClass = values.MultiProcessValue(lambda: worker)
    return client


class Metrics:
    """All series of this worker process, in BentoML's registry; /metrics adds up the workers."""

    def __init__(self, alone: bool) -> None:
        client = _client(alone)
        self._client = client
        self._service = {"service_name": server_context.bento_name, "service_version": server_context.bento_version}
        self.images = client.Counter("gan_images_total", "Images by what became of them.", ["model", "outcome"])
        self.queue = client.Gauge(
            "gan_queue_images", "Images that wait for a session.", ["model"], multiprocess_mode="livesum"
        )
        self.wait = client.Histogram(
            "gan_queue_wait_seconds", "Seconds until a request's first image is computed.", ["model"],
            buckets=_WAIT_BUCKETS,
        )  # fmt: skip
        self.batch = client.Histogram(
            "gan_batch_images", "Images in one run of a session.", ["model"], buckets=_IMAGE_BUCKETS
        )
        self.run = client.Histogram(
            "gan_run_seconds", "Seconds of one run of a session.", ["model"], buckets=_RUN_BUCKETS
        )
        self._encode = client.Histogram(
            "gan_encode_seconds", "Seconds of encoding images for one response, or one batch of it.", ["format"],
            buckets=_RUN_BUCKETS,
        )  # fmt: skip
        self._rejections = client.Counter(
            "gan_rejections_total",
            "Requests that were refused, failed or left.",
            ["reason"],
        )
        self._loaded = client.Gauge(
            "gan_models_loaded", "Generators that a worker serves.", multiprocess_mode="livemax"
        )
        self._reloads = client.Counter("gan_reloads_total", "Generators loaded while serving.", ["outcome"])
        self._add_requests()
        self._begin_at_zero()
        # The client looks for a series by its labels in two locks and several calls.
        self._encoded: dict[str, Any] = {}
        self._answered: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._open = self._in_progress.labels(endpoint="all", **self._service)

    def model(self, name: str) -> ModelMetrics:
        """The series of one generator."""
        return ModelMetrics(self, name)

    def encoded(self, wanted: str, seconds: float) -> None:
        """One response's images, or one batch of them, were encoded."""
        found = self._encoded.get(wanted)
        if found is None:
            found = self._encoded[wanted] = self._encode.labels(format=wanted)
        found.observe(seconds)

    def rejected(self, reason: str) -> None:
        """A request was refused; `reason` is the code of its error."""
        self._rejections.labels(reason=reason).inc()

    def loaded(self, count: int) -> None:
        """So many generators are served now."""
        self._loaded.set(count)

    def reloaded(self, outcome: str) -> None:
        """A generator was loaded while serving: `ok`, `failed` or `unloaded`."""
        self._reloads.labels(outcome=outcome).inc()

    def begin(self) -> None:
        """A request came."""
        self._open.inc()

    def end(self, endpoint: str, status: int, seconds: float) -> None:
        """It was answered; `endpoint` is a route's path or `other`."""
        self._open.dec()
        key = (endpoint, status)
        found = self._answered.get(key)
        if found is None:
            labels = {"endpoint": endpoint, "http_response_code": status, **self._service}
            found = self._answered[key] = (self._requests.labels(**labels), self._seconds.labels(**labels))
        found[0].inc()
        found[1].observe(seconds)

    def page(self) -> tuple[bytes, str]:
        """The text of /metrics over all workers, and its media type."""
        with settled():
            text: bytes = self._client.generate_latest()
        return text, self._client.CONTENT_TYPE_LATEST

    def _add_requests(self) -> None:
        """The series of requests, under BentoML's names."""
        client = self._client
        labels = ["endpoint", *self._service]
        self._requests = client.Counter("bentoml_service_request_total", "Requests.", [*labels, "http_response_code"])
        self._seconds = client.Histogram(
            "bentoml_service_request_duration_seconds", "Seconds of a request.", [*labels, "http_response_code"],
            buckets=BentoMLContainer.duration_buckets.get(),
        )  # fmt: skip
        self._in_progress = client.Gauge(
            "bentoml_service_request_in_progress", "Requests that are being answered.", labels,
            multiprocess_mode="livesum",
        )  # fmt: skip

    def _begin_at_zero(self) -> None:
        """A counter that begins at 1 has not increased: alerts would miss the first one."""
        for outcome in ("ok", "failed", "unloaded"):
            self._reloads.labels(outcome=outcome)
        for reason in _WATCHED:
            self._rejections.labels(reason=reason)


@lru_cache
def metrics(alone: bool) -> Metrics:
    """This process's series; made once, because the registry takes each name once.

    Args:
        alone: there are no other workers whose numbers are to be added up, so that memory will do.
    """
    return Metrics(alone)
