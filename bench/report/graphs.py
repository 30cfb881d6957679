"""What bench/graphs.py found: images/s of exported graphs, by net, batch and peer."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .markdown import number, table, verdict
from .plots import grouped_bars
from .results import Found

BATCHES = (1, 4, 16, 64)
OURS = ("ours", "int8", "ours-openvino", "ours-openvino-bf16")
RULES = {"ours": dict.fromkeys(BATCHES, 0.98), "int8": {1: 1.7, 16: 2.5}, "ours-openvino": {16: 1.3}}
"""The project's: times the plain export, by peer and batch."""
LEAST_MEAN = {"ours": 1.1}
"""And in the mean over nets and batches."""


@dataclass
class Result:
    """Of one net: images/s by peer and batch."""

    net: str
    flop: int  # for one image, of the plain graph
    rates: dict[str, dict[int, float]]
    psnr_db: float | None = None  # of int8
    visible: float | None = None  # share of int8's uint8 pixels that are off by more than 4
    notes: tuple[str, ...] = ()
    rewrites: list[str] = field(default_factory=list)
    memory: dict[str, float] = field(default_factory=dict)  # MiB

    def ratio(self, peer: str, batch: int, base: str = "plain") -> float:
        """How many times as fast as `base` this peer draws batches of this size."""
        return self.rates[peer][batch] / self.rates[base][batch]

    def has(self, *peers: str) -> bool:
        return set(peers) <= self.rates.keys()


def read(found: Found) -> list[Result]:
    """Results of what --json printed, where batch sizes are text."""
    results = [Result(**each) for each in found["results"]]
    for each in results:
        each.rates = {peer: {int(size): rate for size, rate in rates.items()} for peer, rates in each.rates.items()}
    return results


def tables(found: Found) -> str:
    """What was found, as Markdown for the page and the terminal."""
    results, gflops = read(found), found["gflops"]
    return "\n\n".join([speeds(results, gflops), qualities(results), *means(results), rules(results)])


def speeds(results: list[Result], gflops: float) -> str:
    """Images/s of each peer by net and batch, and ratios to the plain export and to the peak rate in GFLOP/s."""
    peers = list(dict.fromkeys(peer for result in results for peer in result.rates))
    rows = []
    for result in results:
        for batch in BATCHES:
            cells = [number(result.rates[peer][batch]) if result.has(peer) else "-" for peer in peers]
            ratios = [
                f"{result.ratio(peer, batch):.2f}" if result.has(peer, "plain") else "-" for peer in ("ours", "int8")
            ]
            shares = [
                f"{result.rates[peer][batch] * result.flop / gflops / 1e9:.0%}"
                for peer in ("plain", "ours")
                if result.has(peer)
            ]
            rows.append([result.net, number(result.flop / 1e6, 1), str(batch), *cells, *ratios, ", ".join(shares)])
    return table(["net", "MFLOP", "batch", *peers, "ours / plain", "int8 / plain", "peak: plain, ours"], rows)


def qualities(results: list[Result]) -> str:
    """What int8 costs in quality, memory, and the rewrites that were kept."""
    rows = []
    for result in results:
        quality = "-" if result.psnr_db is None else f"{result.psnr_db:.1f} dB, {result.visible:.2%}"
        memory = ", ".join(f"{peer} {mib:.0f}" for peer, mib in result.memory.items())
        rows.append([result.net, quality, memory, "; ".join([*result.rewrites, *result.notes])])
    return table(["net", "int8: PSNR, pixels off by more than 4", "memory, MiB", "rewrites kept, and notes"], rows)


def mean_ratio(peer: str, results: list[Result]) -> float:
    """Geometric mean over nets and batches of its ratios to the plain export; some net must have both."""
    return _mean([result.ratio(peer, batch) for result in results for batch in BATCHES if result.has(peer, "plain")])


def means(results: list[Result]) -> Iterator[str]:
    """A line for each of ours: geometric means of its ratios to the plain export."""
    for peer in OURS:
        found = [(r.ratio(peer, b), b) for r in results for b in BATCHES if r.has(peer, "plain")]
        if found:
            at = ", ".join(f"{_mean([x for x, b in found if b == batch]):.2f}x at {batch}" for batch in BATCHES)
            yield f"{peer} / plain: {mean_ratio(peer, results):.2f}x on average ({at}), {min(found)[0]:.2f}x at worst."


def rules(results: list[Result]) -> str:
    """Whether the ratios of RULES were reached, and where not."""
    said = []
    for peer, least in RULES.items():
        if not any(result.has(peer, "plain") for result in results):
            continue
        missed = [
            f"{result.net} at {batch} ({result.ratio(peer, batch):.2f}x)"
            for batch in least
            for result in results
            if result.has(peer, "plain") and result.ratio(peer, batch) < least[batch]
        ]
        wanted = ", ".join(f"{ratio}x at {batch}" for batch, ratio in least.items())
        if peer in LEAST_MEAN:
            wanted += f", {LEAST_MEAN[peer]}x on average"
            mean = mean_ratio(peer, results)
            missed += [f"on average ({mean:.2f}x)"] if mean < LEAST_MEAN[peer] else []
        said.append(verdict(f"Target for {peer}: at least {wanted}", missed))
    return " ".join(said)


def plot(found: Found, path: Path) -> None:
    """Images/s relative to the plain export, at batch 1 and 16."""
    results = read(found)
    peers = [peer for peer in dict.fromkeys(peer for result in results for peer in result.rates) if peer != "plain"]
    grouped_bars(
        path,
        [result.net for result in results],
        {
            f"batch {batch}: times the plain export": {
                peer: [result.ratio(peer, batch) if result.has(peer, "plain") else math.nan for result in results]
                for peer in peers
            }
            for batch in (1, 16)
        },
        line=1,
    )


def _mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))
