"""OpenTelemetry, as BentoML's configuration has it."""

from __future__ import annotations

import threading
from importlib.util import find_spec
from typing import Any, Final

from bentoml._internal.configuration.containers import BentoMLContainer

_MODULES: Final = {
    ("otlp", "http"): "opentelemetry.exporter.otlp.proto.http",
    ("otlp", "grpc"): "opentelemetry.exporter.otlp.proto.grpc",
    ("zipkin", None): "opentelemetry.exporter.zipkin.json",
    ("jaeger", "thrift"): "opentelemetry.exporter.jaeger.thrift",
    ("jaeger", "grpc"): "opentelemetry.exporter.jaeger.proto.grpc",
}
"""Of each exporter and its protocol, what BentoML imports; the package has the same name with '-' in place of '.'."""

FLUSH_SECONDS: Final = 2.0
"""How long a worker that stops waits for the collector to take its last spans."""


def exporter() -> tuple[str, str | None] | None:
    """Kind and protocol of the exporter that the configuration names; None: nothing is traced."""
    kind: str | None = BentoMLContainer.tracing.exporter_type.get()
    if kind is None or kind == "in_memory":
        return None if kind is None else (kind, None)
    options: dict[str, Any] = BentoMLContainer.tracing.get()[kind]
    if not any(options.values()):
        return None  # without an endpoint BentoML exports nothing either
    return kind, options.get("protocol")


def problem() -> str | None:
    """Why nothing could be exported, in one line; each worker would end with a traceback and be started again."""
    found = exporter()
    if found is None:
        return None
    kind, protocol = found
    known = [each for of, each in _MODULES if of == kind and each is not None]
    if known and protocol not in known:
        return f"services.tracing.{kind}.protocol is {protocol!r}; give {' or '.join(known)}"
    module = _MODULES.get(found)
    if module is None or _is_there(module):
        return None
    package = module.replace(".", "-")
    return f"services.tracing needs {package}: pip install it in the version of opentelemetry-sdk, or name no exporter"


def flush(seconds: float = FLUSH_SECONDS) -> None:
    """Have the spans that wait exported, for a limited time.

    OpenTelemetry does so when Python ends, but uvicorn ends a worker by its signal, and those of its last seconds
    were lost.
    """
    if exporter() is None:
        return
    # A thread that nobody waits for any longer, as a collector may not answer: the SDK itself heeds no time limit.
    export = threading.Thread(target=BentoMLContainer.tracer_provider.get().force_flush, daemon=True)
    export.start()
    export.join(seconds)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is the package above it
        return False
