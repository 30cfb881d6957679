"""What a run tells its owner while it runs: stability, mode collapse, memorisation; and advice before it starts."""
