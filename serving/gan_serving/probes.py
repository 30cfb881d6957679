"""Paths that machines ask every few seconds, to learn whether a worker lives and takes requests."""

from __future__ import annotations

from typing import Final

PROBES: Final = frozenset({"/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"})
"""They need no API key."""
UNCOUNTED: Final = PROBES | {"/metrics"}
"""They count towards no limit, of a caller or of connections, and are logged with GAN_ACCESS_LOG=all alone."""
