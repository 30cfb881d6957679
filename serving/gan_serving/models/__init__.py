"""The generators that are served: what their sources hold, loading them, following changes."""
