"""Tables and numbers as Markdown."""

from collections.abc import Iterable, Sequence
from statistics import median


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are text already."""
    first, *others = (f"| {' | '.join(line)} |" for line in (heads, *rows))
    return "\n".join([first, "|" + "---|" * len(heads), *others])


def number(value: float, digits: int = 0) -> str:
    """With thousands separated, and so many decimals."""
    return f"{value:,.{digits}f}"


def verdict(rule: str, missed: Sequence[str]) -> str:
    """A target, and which cases miss it."""
    return f"{rule}. {'Not met: ' + ', '.join(missed) if missed else 'Met'}."


def times(ratios: Sequence[float]) -> str:
    """Several ratios as their median with the smallest and largest: 1.50x (1.40 to 1.60)."""
    return f"{median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
