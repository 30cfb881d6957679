"""What can go wrong in a run, each as a rule over the last lines of metrics.jsonl.

A rule is a function of recent history alone, so that a resumed run rings the same alarms as one that never stopped.
Ranges come from healthy and from provoked runs of each type; docs/trials.md shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

Line: TypeAlias = dict[str, float]
"""A line of metrics.jsonl: step, seconds and whatever was measured then."""
History: TypeAlias = Sequence[Line]

RECENT: Final = 300  # steps over which losses are judged
LONGER: Final = 500  # steps over which swings are counted
YOUNG: Final = 100  # steps in which losses may be any
SETTLED: Final = 300  # steps that every run may look bad at first
UNBOUND: Final = 150  # steps in which a small gp_weight lets slopes grow, in good runs too

SURE: Final = 0.985  # mean accuracy of a critic that the generator no longer reaches
PASSIVE: Final = 0.53  # mean accuracy of a critic that only guesses
LARGE_LOSS: Final = 20.0  # cross-entropy: 1.39 is a guess, a healthy generator stays below 5
LARGE_SCORE: Final = 1000.0  # Wasserstein scores on images in [-1, 1]
LARGE_PENALTY: Final = 5.0  # mean squared distance of gradient norms from 1; a healthy critic's is below 0.3
LASTING_PENALTY: Final = 5.0  # the same times its weight, in the mean over RECENT; healthy: below 1.5
SWING: Final = 0.35  # cross-entropy away from the mean that counts as a swing
RELATIVE_SWING: Final = 0.75  # the same for a Wasserstein loss, as a share of its mean
SWINGS: Final = 5  # alternations in LONGER steps

STARTED: Final = 0.3  # diversity below which samples are still too alike to be told apart
GROWTH: Final = 0.03  # rise from one measurement to the next that shows that a run is still learning


class CollapseCriterion(NamedTuple):
    """Of mode collapse: a measure that stays below its limit, twice in a row."""

    measure: str
    limit: float
    after: int  # steps
    message: str  # with a place for the value, a share of 1
    may_rise: bool = False  # whether a value that rises by GROWTH or more is let pass
    least_diversity: float = 0.0  # below, the measure says nothing


COLLAPSE_CRITERIA: Final = (
    CollapseCriterion("spacing", 0.2, 300, "samples lie {:.0%} as far apart from their neighbours as real images do"),
    CollapseCriterion(
        "class_diversity", 0.25, 400, "samples of one class differ {:.0%} as much as real ones", may_rise=True
    ),
    CollapseCriterion("diversity", 0.5, 400, "samples differ {:.0%} as much as real images", may_rise=True),
    CollapseCriterion("classes_covered", 0.75, 500, "samples cover {:.0%} of the classes", least_diversity=STARTED),
)

COPIED: Final = 0.5  # distance to the nearest training image over that image's to the next; new real images: 1.0 to 1.1


@dataclass(frozen=True)
class Rule:
    """`finds` returns what is wrong in one line, or None."""

    kind: str
    finds: Callable[[History], str | None]


def critic_wins(history: History) -> str | None:
    """A critic that is never wrong gives the generator no gradient to learn from."""
    accuracy = _mean_accuracy(history)
    if accuracy is None or accuracy < SURE or _mean(history, "generator_loss", RECENT) < 2:
        return None
    return (
        f"the critic told real from fake in {accuracy:.1%} of the last {RECENT} steps (healthy: 55 % to 95 %), which "
        "leaves the generator little to learn from; try a lower critic_lr, a higher r1_gamma, or instance_noise=0.1"
    )


def critic_lost(history: History) -> str | None:
    """A critic that only guesses, or a Wasserstein critic that scores fakes above real images, teaches nothing."""
    accuracy = _mean_accuracy(history)
    if accuracy is not None:
        if accuracy > PASSIVE:
            return None
        return (
            f"the critic told real from fake in only {accuracy:.1%} of the last {RECENT} steps (healthy: 55 % to 95 %);"
            " try a lower generator_lr, a lower r1_gamma, or a wider critic (critic_width)"
        )
    if not _covers(history, "real_score", RECENT) or _mean(history, "critic_loss", RECENT) < 0:
        return None
    return (
        f"the critic scored fake images as high as real ones over the last {RECENT} steps (its loss should be below 0);"
        " try more n_critic steps, a higher critic_lr, or lipschitz=gp instead of clip"
    )


def exploded(history: History) -> str | None:
    """Losses far too large now, or a penalty that has been for long."""
    return _large_loss(history) or _lasting_penalty(history)


def _large_loss(history: History) -> str | None:
    """Losses far outside what a run that can recover shows."""
    line = history[-1]
    limit = LARGE_SCORE if "real_score" in line else LARGE_LOSS
    limits = {"critic_loss": limit, "generator_loss": limit}
    if line["step"] >= UNBOUND:
        limits["gradient_penalty"] = LARGE_PENALTY
    large = [name for name, limit in limits.items() if abs(line.get(name, 0.0)) > limit]
    if not large or line["step"] < YOUNG:
        return None
    name = large[0]
    return f"{name} is {line[name]:,.0f} (healthy: below {limits[name]:,.0f}); try learning rates 10 times lower"


def _lasting_penalty(history: History) -> str | None:
    """A critic whose slopes never settle: single steps look well between others that don't."""
    if history[-1]["step"] < YOUNG + RECENT or not _covers(history, "penalty_loss", RECENT):
        return None
    mean = _mean(history, "penalty_loss", RECENT)
    if mean <= LASTING_PENALTY:
        return None
    return (
        f"penalty_loss was {mean:,.0f} over the last {RECENT} steps (healthy: below {LASTING_PENALTY:,.0f}); "
        "try learning rates 10 times lower"
    )


def oscillating(history: History) -> str | None:
    """Two nets that chase each other in circles: the critic's loss swings about its mean."""
    if not _covers(history, "critic_loss", LONGER) or history[-1]["step"] < SETTLED + LONGER:
        return None
    losses = _values(history, "critic_loss", LONGER)
    mean = sum(losses) / len(losses)
    swing = RELATIVE_SWING * abs(mean) if "real_score" in history[-1] else SWING
    sides = [loss > mean for loss in losses if abs(loss - mean) > swing]
    swings = sum(a != b for a, b in pairwise(sides))
    if swings < SWINGS:
        return None
    return (
        f"the critic's loss swung {swings} times about {mean:.2g} in the last {LONGER} steps; try lower learning rates,"
        " beta1=0 or a larger batch_size"
    )


def collapse(history: History) -> str | None:
    """Samples that lack what real images have: whole classes, spread within a class, spread at all, or dimensions."""
    measured = [line for line in history if "diversity" in line]
    if len(measured) < 2:
        return None
    last = measured[-1]
    for criterion in COLLAPSE_CRITERIA:
        before, now = (line.get(criterion.measure, 1.0) for line in measured[-2:])
        is_low = max(before, now) < criterion.limit and not (criterion.may_rise and now > before + GROWTH)
        if is_low and last["step"] >= criterion.after and last["diversity"] >= criterion.least_diversity:
            return (
                f"{criterion.message.format(now)} (healthy: above {criterion.limit:.0%}): mode collapse; "
                "try a lower learning rate, a larger latent_dim or r1_gamma, or go back to best.pt, if there is one"
            )
    return None


def memorisation(history: History) -> str | None:
    """Samples far closer to training images than those are to each other: copies."""
    line = next((line for line in reversed(history) if "memorisation_ratio" in line), None)
    if line is None or not line["memorisation_ratio"] < COPIED:
        return None
    return (
        f"samples are {line['memorisation_ratio']:.2f} times as far from the nearest training image as that image is "
        f"from the next (healthy: above {COPIED}): they are copies; use more data, stop earlier, or "
        "start again with --set translate=2 or more"
    )


RULES: Final = (
    Rule("collapse", collapse),
    Rule("exploded", exploded),
    Rule("memorisation", memorisation),
    Rule("critic-wins", critic_wins),
    Rule("critic-lost", critic_lost),
    Rule("oscillation", oscillating),
)
"""Gravest first."""


def _mean_accuracy(history: History) -> float | None:
    """Of the critic, over real and fake images and RECENT steps; None where it has none, or too few steps."""
    if not _covers(history, "real_accuracy", RECENT):
        return None
    return (_mean(history, "real_accuracy", RECENT) + _mean(history, "fake_accuracy", RECENT)) / 2


def _covers(history: History, name: str, steps: int) -> bool:
    """Whether `name` was measured over that many steps after the start, when every run looks bad."""
    lines = [line for line in history if name in line]
    return bool(lines) and lines[-1]["step"] - lines[0]["step"] >= steps


def _values(history: History, name: str, steps: int) -> list[float]:
    """Those of the last `steps` steps, or the last one where it is older."""
    measured, since = [line for line in history if name in line], history[-1]["step"] - steps
    return [line[name] for line in measured if line["step"] > since] or [measured[-1][name]]


def _mean(history: History, name: str, steps: int) -> float:
    values = _values(history, name, steps)
    return sum(values) / len(values)
