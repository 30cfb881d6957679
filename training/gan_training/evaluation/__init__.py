"""Generated images against real ones, by all metrics: those of a checkpoint, of anybody, or of a run so far."""
