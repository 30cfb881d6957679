"""What of a request is counted."""

from dataclasses import dataclass, field

import pytest

from gan_serving.call import Call
from gan_serving.probes import PROBES
from gan_serving.telemetry.access_log import AccessLog
from gan_serving.telemetry.observe import Requests


@dataclass
class Counted:
    """Stands for the series."""

    ended: list[tuple[str, int]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def end(self, endpoint: str, status: int, _seconds: float) -> None:
        self.ended.append((endpoint, status))

    def rejected(self, reason: str) -> None:
        self.reasons.append(reason)


@pytest.mark.parametrize(("path", "reasons"), [*((path, []) for path in sorted(PROBES)), ("/docs.json", ["not_ready"])])
def test_a_probe_that_is_told_no_is_no_rejection(path: str, reasons: list[str]) -> None:
    series, call = Counted(), Call("an id")
    call.code, call.status = "not_ready", 503
    Requests(series, AccessLog("off"), []).end({"path": path}, call, 0.1)  # type: ignore[arg-type]
    assert series.ended == [(path, 503)]
    assert series.reasons == reasons, "alerts would take it for a request that failed"
