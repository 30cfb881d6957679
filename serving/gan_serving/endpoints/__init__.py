"""Our routes, /v2 apart, and the worker that their handlers work with."""
