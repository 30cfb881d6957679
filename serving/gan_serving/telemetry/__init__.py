"""What operators see: metrics, the access log, traces."""
