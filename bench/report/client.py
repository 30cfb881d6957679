"""What bench/client.py found: milliseconds that the client's calls add to bare HTTP, and images/s of streams."""

from pathlib import Path

from .markdown import number, table
from .plots import ranges
from .results import Found


def tables(found: Found) -> str:
    """What was found, as Markdown for the page and the terminal."""
    return "\n\n".join(
        [
            table(
                [
                    "call",
                    "bare HTTP, ms",
                    "ours, ms",
                    "difference, ms (5 % to 95 %)",
                    "CPU: bare, ours, difference, ms",
                ],
                [
                    [
                        f"`{name}`",
                        number(call["bare"], 2),
                        number(call["ours"], 2),
                        f"{call['more']:.2f} ({call['more_5']:.2f} to {call['more_95']:.2f})",
                        ", ".join(number(call[key], 2) for key in ("bare_cpu", "ours_cpu", "more_cpu")),
                    ]
                    for name, call in found["calls"].items()
                ],
            ),
            table(
                [f"{found['streamed']} images", "images/s"],
                [
                    [name, f"{each['median']:,.0f} ({each['least']:,.0f} to {each['most']:,.0f})"]
                    for name, each in found["streams"].items()
                ],
            ),
        ]
    )


def plot(found: Found, path: Path) -> None:
    """What a call costs beyond bare HTTP, and streams."""
    ranges(
        path,
        {
            "ms more than the bare HTTP call": {
                name: (call["more"], call["more_5"], call["more_95"]) for name, call in found["calls"].items()
            },
            f"images/s of {found['streamed']} images": {
                name: (each["median"], each["least"], each["most"]) for name, each in found["streams"].items()
            },
        },
    )
