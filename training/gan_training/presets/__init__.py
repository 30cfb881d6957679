"""Presets: the TOML files in the box, and how these or a user's own are read."""
