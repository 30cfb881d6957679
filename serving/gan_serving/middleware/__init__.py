"""What stands around every request: ids, keys, limits, origins, bodies, and the one shape of errors."""
