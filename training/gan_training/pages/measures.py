"""The names in metrics.jsonl: which belong together, in a report as in TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

NOT_MEASURED: Final = frozenset({"step", "seconds"})
"""Names in a line that say when, not what."""


@dataclass(frozen=True)
class Group:
    """Measures of one unit that a person compares with each other, so that they share a plot."""

    title: str
    tag: str  # the group's name in TensorBoard
    names: tuple[str, ...]
    note: str = ""  # what the numbers are
    is_share: bool = False  # from 0 to 1, or hardly above


GROUPS: Final[tuple[Group, ...]] = (
    Group("Losses", "loss", ("critic_loss", "generator_loss"), "mean over the steps of each log line"),
    Group(
        "Critic accuracy",
        "accuracy",
        ("real_accuracy", "fake_accuracy"),
        "share of real and of generated images that the critic takes for what they are",
        is_share=True,
    ),
    Group("Critic scores", "loss", ("real_score", "fake_score"), "mean score of real and of generated images"),
    Group("Gradient penalty", "loss", ("r1", "gradient_penalty"), "before its weight"),
    Group(
        "Class losses",
        "loss",
        ("real_class_loss", "fake_class_loss", "generator_class_loss"),
        "cross-entropy of the auxiliary classifier",
    ),
    Group(
        "Class accuracy",
        "accuracy",
        ("real_class_accuracy", "fake_class_accuracy", "generator_class_accuracy"),
        "share that the auxiliary classifier gets right",
        is_share=True,
    ),
    Group(
        "Diversity",
        "watch",
        ("diversity", "class_diversity", "spacing", "recall"),
        "fresh samples against real images; 1 is as varied as real",
        is_share=True,
    ),
    Group("Classes covered", "watch", ("classes_covered",), "classes seen among fresh samples"),
    Group(
        "Frechet distance",
        "evaluation",
        ("frechet_distance",),
        "to real images, in a classifier's features; lower is better",
    ),
    Group(
        "Precision, recall, agreement",
        "evaluation",
        ("precision", "eval_recall", "class_agreement"),
        "share of samples that look real, of real images covered, of samples of the class asked for",
        is_share=True,
    ),
    Group(
        "Memorisation ratio",
        "evaluation",
        ("memorisation_ratio",),
        "distance to the nearest training image over that image's own to the next; well below 1 is copying",
    ),
    Group("Speed", "speed", ("images_per_second",), "real images per second seen by the critic"),
)


def group_of(name: str) -> Group:
    """The group of a measure; an unknown one goes by its ending, or is a group of its own."""
    for group in GROUPS:
        if name in group.names:
            return group
    if name.endswith("_class_loss"):
        return _BY_TITLE["Class losses"]
    if name.endswith("_class_accuracy"):
        return _BY_TITLE["Class accuracy"]
    if name.endswith("_loss"):
        return _BY_TITLE["Losses"]
    if name.endswith("_accuracy"):
        return _BY_TITLE["Critic accuracy"]
    return Group(words(name), "other", (name,))


def grouped(history: Iterable[dict[str, float]]) -> list[tuple[Group, list[str]]]:
    """Every group that has measures in these lines, in the order of GROUPS, unknown ones last; with its names."""
    found: dict[Group, list[str]] = {group: [] for group in GROUPS}
    for name in dict.fromkeys(name for line in history for name in line):
        if name not in NOT_MEASURED:
            found.setdefault(group_of(name), []).append(name)
    return [(group, _in_order(names, group)) for group, names in found.items() if names]


def best_line(history: list[dict[str, float]]) -> dict[str, float] | None:
    """The line with the least Frechet distance, the earliest of equals; None where none was measured."""
    evaluated = [line for line in history if "frechet_distance" in line]
    return min(evaluated, key=lambda line: line["frechet_distance"], default=None)


def words(name: str) -> str:
    """`critic_loss` -> `critic loss`."""
    return name.replace("_", " ")


def _in_order(names: list[str], group: Group) -> list[str]:
    """The group's own order, strangers last."""
    return sorted(names, key=lambda name: group.names.index(name) if name in group.names else len(group.names))


_BY_TITLE: Final = {group.title: group for group in GROUPS}
