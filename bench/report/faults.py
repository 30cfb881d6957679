"""What bench/faults.py found: who catches planted faults."""

import textwrap

from .markdown import table
from .results import Found

LONGEST = 60  # cell, in characters


def tables(found: Found) -> str:
    """What was found, as Markdown: a table for faults at export, one for those after it."""
    return "\n\n".join(_table(title, rows) for title, rows in found["tables"].items())


def _table(title: str, rows: list[Found]) -> str:
    ways = list(rows[0]["verdicts"])
    lines = [[row["name"], *(_cell(row["verdicts"][way]) for way in ways)] for row in rows]
    return table([title, *ways], [*lines, ["**caught**", *(f"**{_total(rows, way)}**" for way in ways)]])


def _cell(verdict: Found) -> str:
    words = textwrap.shorten(verdict["words"], LONGEST, placeholder=" ...").replace("|", "\\|")
    return f"`{words}`" if verdict["caught"] else "-"


def _total(rows: list[Found], way: str) -> str:
    ours = next(iter(rows[0]["verdicts"]))  # whose word is a gate's code, and the fault's own must it be
    faults = [
        verdict["words"] == row["code"] if way == ours else verdict["caught"]
        for row in rows
        if row["code"]
        for verdict in [row["verdicts"][way]]
    ]
    alarms = sum(row["verdicts"][way]["caught"] for row in rows if not row["code"])
    return f"{sum(faults)} of {len(faults)}" + (", and a false alarm" if alarms else "")
