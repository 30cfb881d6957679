"""Below a request: how connections are accepted, shared between workers, bounded and refused."""
