"""Ports for the servers that tests start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

FIRST, LAST = 10_000, 32_767
LENT = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""What the system lends to outgoing connections; a server that takes seconds to start can lose such a port to one."""


def free_port() -> int:
    """A port that nobody listens at now, and that the system gives to nobody before the server has it."""
    last = min(LAST, int(LENT.read_text().split()[0]) - 1) if LENT.exists() else LAST
    for port in random.SystemRandom().sample(range(FIRST, last + 1), 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise OSError(f"none of 100 ports from {FIRST} to {last} is free")
