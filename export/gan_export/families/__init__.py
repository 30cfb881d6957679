"""Generators of well-known public repositories, rebuilt from facts: key names, shapes and constants."""

from .registry import FAMILIES, explain, find_family, fitting, nearest

__all__ = ["FAMILIES", "explain", "find_family", "fitting", "nearest"]
