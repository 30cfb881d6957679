"""OpenTelemetry's spans of a real service, taken by an exporter in the place of the package that is not among ours."""

import json
import os
import time
from pathlib import Path

import httpx
import pytest
from asking import PATIENCE
from toy_artifact import write_artifact

pytestmark = pytest.mark.slow

EXPORTER = """
import os, time
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

class OTLPSpanExporter(SpanExporter):
    def __init__(self, **options):
        pass

    def export(self, spans):
        with open(os.environ["SPANS"], "a") as file:
            for span in spans:
                parent = span.parent and f"{span.parent.span_id:016x}"
                file.write(f"{span.kind.name} {span.name} {span.context.trace_id:032x} {parent}\\n")
        time.sleep(float(os.environ["COLLECTOR_SECONDS"]))
        return SpanExportResult.SUCCESS
"""
OTLP = {"services": {"tracing": {"exporter_type": "otlp", "otlp": {"protocol": "http"}}}}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
LONG = 60  # seconds


@pytest.mark.parametrize("collector_seconds", [0, LONG])
def test_the_spans_of_the_last_requests_are_exported_and_a_stalled_collector_holds_nothing_up(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collector_seconds: int
) -> None:
    write_artifact(tmp_path / "models" / "toy")
    package = tmp_path / "opentelemetry" / "exporter" / "otlp" / "proto" / "http" / "trace_exporter"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(EXPORTER)
    spans = tmp_path / "spans"
    for name, value in {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        "BENTOML_CONFIG_OVERRIDES": json.dumps(OTLP),
        "OTEL_BSP_SCHEDULE_DELAY": str(LONG * 1000),  # nothing is exported before the end
        "SPANS": str(spans),
        "COLLECTOR_SECONDS": str(collector_seconds),
    }.items():
        monkeypatch.setenv(name, value)
    with serve(models=tmp_path / "models") as service:
        for flags in ("01", "00"):  # the caller traces its request, or doesn't
            sent = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}
            answer = httpx.post(f"{service.url}/generate", json={}, headers=sent, timeout=PATIENCE)
            assert answer.status_code == 200
        began = time.monotonic()
        service.process.terminate()
        service.process.wait(PATIENCE)
        assert time.monotonic() - began < LONG / 4
    lines = spans.read_text().splitlines()
    assert [line for line in lines if line.startswith("SERVER ")] == [f"SERVER POST /generate {TRACE} {PARENT}"]
