"""Paths that machines ask every few seconds, to learn whether a worker lives and takes requests."""

from __future__ import annotations

from typing import Final

PROBES: Final = frozenset({"/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"})
"""They need no API key, count towards no limit, and stand in the log with GAN_ACCESS_LOG=all alone."""
UNCOUNTED: Final = PROBES | {"/metrics"}
"""What is answered whatever a caller has asked for before, and however many connections are open."""
