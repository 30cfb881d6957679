"""The generators that are served: finding artifacts, loading them, following changes."""
