"""The pages on what was built: an artifact's card, and the table of docs/zoo.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipe import BuildError, Recipe

from gan_export.artifact import load_artifact
from gan_training.evaluation.evaluate import MEANINGS, REAL_COUNTERPARTS
from gan_training.pages.page import number

FIGURES = "quality.json"
"""In an artifact's folder: what the card's numbers are made from."""
CERTIFICATE = "\n## Certificate\n"
BEGIN, END = "<!-- figures: written by zoo/build.py -->", "<!-- end of figures -->"


def write_card(recipe: Recipe, exported: str, figures: dict[str, Any]) -> str:
    """The card as Markdown.

    Args:
        recipe: how the artifact was made.
        exported: the card that gan-export wrote, or an earlier one of this function.
        figures: content of quality.json.
    """
    head, mark, certificate = exported.partition(CERTIFICATE)
    if not mark:
        raise BuildError("the card of gan-export has no section Certificate; zoo/card.py must follow it")
    head, _, _ = head.partition("\n## Data\n")
    names, variants = figures["class_names"], figures["variants"]
    first: dict[str, Any] = next(iter(variants.values()))
    sections = {
        "Data": f"{recipe.data.what}. Licence: {recipe.data.licence}.\n\n"
        "The weights are under the licence of this repository, Apache-2.0.",
        "Recipe": _recipe(recipe, figures["training"], list(figures["hosts"].values())),
        "Quality": f"{first['images']:,} images of the seeds from 0 on, drawn through the HTTP service with each graph "
        "and judged by `gan-eval`. Distances are in the features of a classifier of the training data "
        f"(`{first['classifier']}`).\n\n" + "\n\n".join([_quality(variants), *_shares(variants, names)]),
        "Curves": "![curves of the training](curves.png)",
        "Samples": f"The picture above has the seeds 0, 1, 2, ...: {_order(first)}",
        "Nearest neighbours": "Of 500 samples those of each class, as the classifier sees it, that are closest to a "
        "training image (L1 in pixels), each with that image on its right.\n\n"
        "![samples and training images](neighbours.png)",
        "Known faults": "\n".join(f"- {fault}" for fault in [*_faults(first, names), *recipe.faults]),
    }
    body = "".join(f"\n\n## {title}\n\n{text}" for title, text in sections.items())
    return f"{head.rstrip()}{body}\n{CERTIFICATE}{certificate}"


def _recipe(recipe: Recipe, training: dict[str, Any], hosts: Sequence[dict[str, Any]]) -> str:
    where = [f"{host['processor']} with {host['threads']} thread{'s' * (host['threads'] != '1')}" for host in hosts]
    folder = Path("runs/zoo") / recipe.name / "run"
    return f"""```sh
make zoo ONLY={recipe.name}
```

trains, exports, and measures what stands below. The first two by hand:

```sh
{" ".join(recipe.training_command(folder))}
{" ".join(recipe.export_command(folder / recipe.checkpoint))}
```

{training["steps"]:,} steps of {training["batch_size"]} images took {_minutes(training["seconds"])}, at a median of
{training["images_per_second"]:,} real images/s; {_alarms(training["alarms"])}. Measured on
{" and ".join(dict.fromkeys(where))}."""


def _alarms(messages: Sequence[str]) -> str:
    return "no alarm rang" if not messages else f"alarms rang ({'; '.join(messages)})"


def table(folders: Sequence[Path]) -> str:
    """The artifacts side by side, as Markdown."""
    rows = [
        "| artifact | graph | class agreement | precision | recall | Frechet distance | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for folder in folders:
        figures = json.loads((folder / FIGURES).read_text("utf-8"))
        artifact = load_artifact(folder)
        for place, (name, values) in enumerate(figures["variants"].items()):
            size = artifact.path_of(artifact.variant(name)).stat().st_size / 1e6
            rows.append(
                f"| {'' if place else f'`{folder.name}` '}| {name} | {_share(values['class_agreement'])} "
                f"| {values['precision']:.3f} | {values['recall']:.3f} | {values['frechet_distance']:.4f} "
                f"| {size:.2f} |"
            )
        first = next(iter(figures["variants"].values()))
        agreement = None if first["class_agreement"] is None else first["real_class_agreement"]
        rows.append(
            f"| | real images | {_share(agreement)} | {first['real_precision']:.3f} "
            f"| {first['real_recall']:.3f} | {first['real_frechet_distance']:.4f} | |"
        )
    return "\n".join(rows)


def with_table(page: str, folders: Sequence[Path]) -> str:
    """docs/zoo.md with the table of today between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BuildError(f"docs/zoo.md lacks the line {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{table(folders)}\n{END}{after}"


def _quality(variants: dict[str, dict[str, Any]]) -> str:
    first = next(iter(variants.values()))
    rows = [f"| measure | {' | '.join(variants)} | real images | |", "|---" * (len(variants) + 3) + "|"]
    for name, what in MEANINGS.items():
        found = [values[name] for values in variants.values()]
        if found[0] is not None:
            real = first[REAL_COUNTERPARTS[name]] if name in REAL_COUNTERPARTS else None
            rows.append(f"| {name} | {' | '.join(map(number, found))} | {number(real)} | {what} |")
    return "\n".join(rows)


def _shares(variants: dict[str, dict[str, Any]], class_names: Sequence[str]) -> list[str]:
    """How often each class comes, in the eyes of the classifier; nothing where it knows none."""
    rows = [f"| seen as | {' | '.join(variants)} |", "|---" * (len(variants) + 1) + "|"]
    for i, name in enumerate(class_names):
        shares = [f"{values['class_shares'][i]:.1%}" for values in variants.values()]
        rows.append(f"| {name} | {' | '.join(shares)} |")
    return ["\n".join(rows)] if class_names else []


def _order(values: dict[str, Any]) -> str:
    if values["class_agreement"] is None:
        return "no class can be asked for, so they come as they are drawn."
    return "a row for each class."


def _faults(values: dict[str, Any], class_names: Sequence[str]) -> list[str]:
    """What the figures of the exact graph say against it."""
    found = []
    if values["frechet_distance"] > values["real_frechet_distance"]:
        times = values["frechet_distance"] / values["real_frechet_distance"]
        found.append(f"The Frechet distance is {times:.1f} times that between real test and training images.")
    if values["recall"] < values["real_recall"]:
        found.append(
            f"It covers {values['recall']:.1%} of the real test images; real training images cover "
            f"{values['real_recall']:.1%}."
        )
    if values["precision"] < values["real_precision"]:
        found.append(
            f"{1 - values['precision']:.1%} of its images look like no real test image; of real training images, "
            f"{1 - values['real_precision']:.1%}."
        )
    if values["class_agreement"] is not None:
        found.append(
            f"{1 - values['class_agreement']:.1%} of its images are not taken for the class that was asked for; of "
            f"real test images {1 - values['real_class_agreement']:.1%} are not taken for their own."
        )
    elif class_names:
        shares = dict(zip(class_names, values["class_shares"], strict=True))
        least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
        found.append(
            f"Its classes are not equally frequent: {shares[least]:.1%} ({least}) to {shares[most]:.1%} ({most})."
        )
    return found


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
