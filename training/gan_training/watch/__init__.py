"""What a run tells its owner while it runs: stability, mode collapse, memorisation."""
