"""What bench/serving.py found: requests/s and latency of the service and of others."""

from pathlib import Path
from statistics import median

from .markdown import number, table, times, verdict
from .plots import ranges
from .results import Found

OURS = "ganworks"
OURS_EVERYWHERE = "ganworks, a worker for each core"
BARE = "bare Starlette"
FLOOR = "busy for as long, and nothing else"
SHARE = 0.8  # of its saturated rate, at which a server is asked in the open loop
SINGLES_RULE = {"stock BentoML": 2.5, "LitServe": 2.0, BARE: 0.8}
"""The project's: how many times its rate of single images at 64 connections ours is to be at least."""
MANY_RULE = 0.9  # of the limit, with a worker for each core
TAIL_RULE = 3.0  # times p50, that p99 is to be at most
GOOD_RULE = 0.9  # of the saturated rate, under overload


def tables(found: Found) -> str:
    """What was found, as Markdown for the page and the terminal."""
    others = "\n".join(f"- {x}" for x in _others(found))
    parts = [_singles(found["singles"], found["burst"]), _PEERS, _many(found["many"]), _LIMIT, _loops(found), others]
    return "\n\n".join([*parts, _rules(found)])


_PEERS = """\
Stock BentoML (`max_batch_size=64`, `max_latency_ms=1000`) waits for more requests before it runs a batch, even with
one connection."""
_LIMIT = """\
If the limit's rounds are far apart, a ratio above 1 means that the server's round ran at a quieter moment."""


def _rules(found: Found) -> str:
    singles, many = found["singles"], found["many"]
    behind = {
        name: median(a / b for a, b in zip(singles[OURS]["64"], singles[name]["64"], strict=True))
        for name in SINGLES_RULE
        if name in singles
    }
    slow = [f"{name} ({ratio:.2f}x)" for name, ratio in behind.items() if ratio < SINGLES_RULE[name]]
    least = ", ".join(f"{ratio}x {name}" for name, ratio in SINGLES_RULE.items())
    forms = {
        form: median(a / b for a, b in zip(rates[OURS_EVERYWHERE], rates["limit"], strict=True))
        for form, rates in many.items()
    }
    short = [f"{form} ({ratio:.2f}x)" for form, ratio in forms.items() if ratio < MANY_RULE]
    tails = [one["p99"] / one["p50"] for one in found["open_loop"].get(OURS, [])]
    floor = [one["p99"] / one["p50"] for one in found["open_loop"].get(FLOOR, [])]
    beside = f", and {median(floor):.1f}x for the server that only keeps a core busy" if floor else ""
    long = [f"{median(tails):.1f}x{beside}"] if tails and median(tails) > TAIL_RULE else []
    said = [
        verdict(f"Target for single images at 64 connections: at least {least}", slow),
        verdict(f"For 64 images per request, with one worker per core: at least {MANY_RULE}x of the limit", short),
        verdict(f"For p99 in the open loop: at most {TAIL_RULE:g}x p50", long),
    ]
    if found["overload"]:
        shares = {over["n"]: over["good"] / over["saturated"] for over in found["overload"]}
        bad = [f"{n} images per request ({share:.2f}x)" for n, share in shares.items() if share < GOOD_RULE]
        said.append(verdict(f"For throughput under overload: at least {GOOD_RULE}x of saturation", bad))
    return " ".join(said)


def _singles(singles: Found, burst: Found) -> str:
    rows = []
    for name, rates in singles.items():
        ratios = [a / b for a, b in zip(singles[OURS]["64"], rates["64"], strict=True)]
        cells = [number(median(rates["64"])), number(median(rates["1"])), number(median(rates["latency"]), 2)]
        rows.append([name, *cells, times(ratios), number(median(burst[name]) * 1e3)])
    titles = ["64 connections, /s", "1 connection, /s", "latency, ms", "ours / this", "burst of 200, ms"]
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
    titles = ["asked, /s", "p50, ms", "p99, ms", "p99 / p50", "lost or refused", "CPU time taken by the host"]
    return table([asked, *titles], rows)


def _many(many: Found) -> str:
    rows = []
    for form, rates in many.items():
        for name in (OURS, OURS_EVERYWHERE):
            ratios = [a / b for a, b in zip(rates[name], rates["limit"], strict=True)]
            limit = f"{number(median(rates['limit']))} ({number(min(rates['limit']))} to {number(max(rates['limit']))})"
            rows.append([form, name, number(median(rates[name])), limit, times(ratios)])
    return table(["64 images per request", "", "images/s", "limit without a server", "ratio"], rows)


def _others(found: Found) -> list[str]:
    alone = found["alone"]
    lines = [
        f"start to first response: {median(alone['ready']):.1f} s",
        f"idle: {median(alone['idle_cpu']):.1%} of a core",
    ]
    if found["soak"]:
        lines.append(f"resident memory by minute at saturation, MiB: {', '.join(map(str, found['soak']['mib']))}")
    lines += [
        f"overload, {over['n']} images per request: {over['offered']:,.0f} images/s asked, {over['good']:,.0f} served, "
        f"{over['good'] / over['saturated']:.2f}x of {over['saturated']:,.0f} at saturation; {_answers(over)}; "
        f"recovered after {over['recovery']:.2f} s"
        for over in found["overload"]
    ]
    return lines


def _answers(outcome: Found) -> str:
    each = ", ".join(f"{count:,} with status {status}" for status, count in outcome["statuses"].items())
    return f"answers: {each}; {outcome['lost']} lost"


def plot(found: Found, path: Path) -> None:
    """Single images a second, with many connections and with one."""
    ranges(
        path,
        {
            f"single images/s, {title}": {
                name: (median(rates[key]), min(rates[key]), max(rates[key])) for name, rates in found["singles"].items()
            }
            for key, title in (("64", "64 connections"), ("1", "1 connection"))
        },
    )
