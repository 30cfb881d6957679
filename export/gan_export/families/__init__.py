"""Generators of well-known public repositories, rebuilt from facts: key names, shapes and constants."""

from .family import Built, Family, Fit
from .question import Question
from .registry import FAMILIES, explain, find_family, fitting, nearest

__all__ = ["FAMILIES", "Built", "Family", "Fit", "Question", "explain", "find_family", "fitting", "nearest"]
