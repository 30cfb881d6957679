"""How a generator is called and what its output means: found out by calling it, and always called so."""
