"""What bench/training.py found: images/s and memory of training, ours and a plain script's."""

from pathlib import Path

from .markdown import number, table, verdict
from .plots import ranges
from .results import Found

RULE = 1.5  # the project's: ours is to be at least this many times as fast
HEADS = ["case", "ours in", "ours/s", "plain/s", "ratio (min to max)", "loading/s", "MiB: ours", "plain", "before"]


def tables(found: Found) -> str:
    """What was found, as Markdown for the page and the terminal."""
    rows = [
        [
            each["case"],
            each["precision"],
            number(each["ours"]),
            number(each["plain"]),
            f"{each['ratio']:.2f}x ({each['lowest']:.2f} to {each['highest']:.2f})",
            *(number(each[key]) for key in ("loading", "memory_ours", "memory_plain", "memory_before")),
        ]
        for each in found["results"]
    ]
    slow = [each["case"] for each in found["results"] if each["ratio"] < RULE]
    largest = max(each["ours"] / each["loading"] for each in found["results"])
    return "\n\n".join(
        [
            f"Images/s and ratio are medians of {found['rounds']} rounds, memory is the largest. Torch threads: "
            f"{found['threads']}; device: `{found['device']}`.",
            table(HEADS, rows),
            f"{verdict(f'Target: at least {RULE}x', slow)} Loading alone takes at most {largest:.1%} of a step's time.",
        ]
    )


def plot(found: Found, path: Path) -> None:
    """How many times as fast as the plain script, and peak memory beside it."""
    results = found["results"]
    ranges(
        path,
        {
            "images/s, times the plain script": {
                each["case"]: (each["ratio"], each["lowest"], each["highest"]) for each in results
            },
            "peak memory, times the plain script": {
                each["case"]: (each["memory_ours"] / each["memory_plain"],) * 3 for each in results
            },
        },
    )
