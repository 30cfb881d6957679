"""What the handlers of all routes work with: this worker's state, and callers who hang up."""
