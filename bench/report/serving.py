"""What bench/serving.py found: requests/s and latency of the service and of others."""

from pathlib import Path
from statistics import median

from .markdown import number, table, times
from .plots import ranges
from .results import Found

OURS = "ganworks"
OURS_EVERYWHERE = "ganworks, a worker for each core"
BARE = "bare Starlette"
SHARE = 0.8  # of its saturated rate, at which a server is asked in the open loop


def tables(found: Found) -> str:
    others = "\n".join(f"- {x}" for x in _others(found))
    return "\n\n".join([_singles(found["singles"], found["burst"]), _many(found["many"]), _loops(found), others])


def _singles(singles: Found, burst: Found) -> str:
    rows = []
    for name, rates in singles.items():
        ratios = [a / b for a, b in zip(singles[OURS]["64"], rates["64"], strict=True)]
        cells = [number(median(rates["64"])), number(median(rates["1"])), number(median(rates["latency"]), 2)]
        rows.append([name, *cells, times(ratios), number(median(burst[name]) * 1e3)])
    titles = ["64 connections, /s", "1 connection, /s", "latency, ms", "ours is", "burst of 200, ms"]
    return table(["single images", *titles], rows)


def _loops(found: Found) -> str:
    rows = []
    for name, rounds in found["open_loop"].items():
        cells = [number(median(one[key] for one in rounds) * 1e3, 1) for key in ("p50", "p99")]
        ratios = [one["p99"] / one["p50"] for one in rounds]
        lost = sum(one["lost"] for one in rounds)
        bad = sum(count for one in rounds for status, count in one["statuses"].items() if int(status) != 200)
        rate, stolen = number(median(one["rate"] for one in rounds)), [one.get("stolen") for one in rounds]
        taken = "-" if None in stolen else f"{median(stolen):.1%}"  # earlier results don't tell
        rows.append([name, rate, *cells, times(ratios), number(lost + bad), taken])
    asked = f"open loop at {SHARE:.0%} of saturation"
    titles = ["asked, /s", "p50, ms", "p99, ms", "p99 is", "lost or refused", "cores' time taken by the host"]
    return table([asked, *titles], rows)


def _many(many: Found) -> str:
    rows = []
    for form, rates in many.items():
        for name in (OURS, OURS_EVERYWHERE):
            ratios = [a / b for a, b in zip(rates[name], rates["limit"], strict=True)]
            rows.append([form, name, number(median(rates[name])), number(median(rates["limit"])), times(ratios)])
    return table(["64 images a request", "", "images/s", "limit without a server", "ratio"], rows)


def _others(found: Found) -> list[str]:
    alone = found["alone"]
    lines = [
        f"start to first answer: {median(alone['ready']):.1f} s",
        f"idle: {median(alone['idle_cpu']):.1%} of a core",
    ]
    if found["soak"]:
        lines.append(f"resident memory by minute at saturation, MiB: {', '.join(map(str, found['soak']['mib']))}")
    if over := found["overload"]:
        lines.append(
            f"overload: {over['offered']:,.0f} images/s asked, {over['good']:,.0f} given, "
            f"{over['good'] / over['saturated']:.2f}x of {over['saturated']:,.0f} at saturation; {_answers(over)}; "
            f"well again after {over['recovery']:.2f} s"
        )
    return lines


def _answers(outcome: Found) -> str:
    each = ", ".join(f"{count:,} with status {status}" for status, count in outcome["statuses"].items())
    return f"answers: {each}; {outcome['lost']} lost"


def plot(found: Found, path: Path) -> None:
    """Single images a second, with many connections and with one."""
    ranges(
        path,
        {
            f"single images a second, {title}": {
                name: (median(rates[key]), min(rates[key]), max(rates[key])) for name, rates in found["singles"].items()
            }
            for key, title in (("64", "64 connections"), ("1", "1 connection"))
        },
    )
