"""Our routes, /v2 apart."""
