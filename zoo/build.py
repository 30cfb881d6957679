"""Make the artifacts of this folder again: train, export, serve, draw, evaluate, write the cards. `make zoo` runs it.

What is done is not done again: a run goes on where it stopped, a finished one is used as it is. With --measure, nothing
is trained or exported: the artifacts that are there are judged again, and their cards written anew.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from card import FIGURES, with_table, write_card
from measure import VariantEvaluation, evaluate, run
from recipe import BuildError, Recipe, read_recipes

from gan_export.artifact import Artifact, ArtifactError, is_artifact, load_artifact
from gan_export.package.manifest import package_versions
from gan_training.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from gan_training.cli.command import INTERRUPTED
from gan_training.config import TrainConfig
from gan_training.data import DataError, ImageData, load_data
from gan_training.pages.curves import Annotation, draw_picture
from gan_training.watch.alarm import Alarm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RECIPES = HERE / "recipes.toml"
PAGE = ROOT / "docs" / "zoo.md"
LARGEST_BYTES = 2_500_000
"""Of an artifact's folder: it has a place in git and in the wheel."""
LABELS_ALONE = {"embed_dim", "conditioned_by"}
"""Settings that mean nothing without labels."""
TRIES = 3
"""Exports: int8 is left out where it is no faster, which other work on the machine may blur."""
EPILOG = """examples:
  make zoo                                    all of them; days on a small machine
  make zoo ONLY=mnist-cgan
  make zoo MEASURE=1                          minutes: what is there is judged again
  python zoo/build.py --only mnist-cgan --only mnist-wgan --runs runs
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this one; can be repeated")
    parser.add_argument(
        "--runs", type=Path, metavar="DIR", help="folder of runs of gan-train: DIR/NAME is gone on with"
    )
    parser.add_argument("--measure", action="store_true", help="judge the artifacts of --out; train and export nothing")
    parser.add_argument("--recipes", type=Path, default=RECIPES, metavar="FILE", help="other recipes")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="where the artifacts go; default: zoo")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "zoo", metavar="DIR", help="default: runs/zoo")
    options = parser.parse_args()
    try:
        for recipe in read_recipes(options.recipes, options.only):
            print(f"== {recipe.name}", file=sys.stderr, flush=True)
            work = options.work / recipe.name
            work.mkdir(parents=True, exist_ok=True)
            if options.measure:
                print(measured_again(recipe, work, options.out))
            else:
                print(build(recipe, options.runs / recipe.name if options.runs else work / "run", work, options.out))
        if options.out.resolve() == HERE:
            folders = [HERE / recipe.name for recipe in read_recipes(RECIPES, [])]
            PAGE.write_text(with_table(PAGE.read_text("utf-8"), [each for each in folders if each.exists()]), "utf-8")
    except (BuildError, ArtifactError, CheckpointError, DataError, OSError) as error:
        sys.exit(f"zoo/build.py: {error}")
    except KeyboardInterrupt:
        print("zoo/build.py: stopped; the same call goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)


def build(recipe: Recipe, run_folder: Path, work: Path, out: Path) -> Path:
    """Make an artifact with its card; returns its folder.

    Args:
        recipe: how.
        run_folder: of the training; one that is there is gone on with, or used if it is finished.
        work: folder for what is made on the way.
        out: the artifact's folder is made here, all of it or nothing.
    """
    checkpoint = trained(recipe, run_folder)
    artifact = exported(recipe, run_folder / recipe.checkpoint, work / "artifact")
    evaluations = evaluate(recipe, artifact, work)
    return published(recipe, run_folder, checkpoint, artifact, evaluations, out)


def measured_again(recipe: Recipe, work: Path, out: Path) -> Path:
    """Judge the artifact that is in `out`, and write its figures and its card anew; returns its folder.

    What the card says of the training and the export stays, as do the graphs.
    """
    folder = out / recipe.name
    artifact = load_artifact(folder)
    training = json.loads((folder / FIGURES).read_text("utf-8"))["training"]
    evaluations = evaluate(recipe, artifact, work, anew=True)
    with _replacing(folder, artifact) as staging:
        _write_figures(staging, recipe, training, artifact, evaluations)
    return folder


def trained(recipe: Recipe, run_folder: Path) -> Checkpoint:
    """The finished run's checkpoint of the recipe."""
    config, last = recipe.config(), run_folder / "ckpt.pt"
    if not last.exists():
        run(recipe.training_command(run_folder))
    elif (step := _of_recipe(last, config).step) < config.steps:
        print(f"{last}: step {step:,} of {config.steps:,}", file=sys.stderr)
        run(["gan-train", "--resume", "--out", str(run_folder), "--steps", str(config.steps)])
    if (step := _of_recipe(last, config).step) != config.steps:
        raise BuildError(f"{last}: has {step:,} steps, the recipe {config.steps:,}")
    return load_checkpoint(run_folder / recipe.checkpoint)


def _of_recipe(path: Path, config: TrainConfig) -> Checkpoint:
    """A checkpoint, if it is one of the recipe's; raises BuildError if its settings or its data are others."""
    checkpoint = load_checkpoint(path)
    there, wanted = checkpoint.config.to_dict(), config.to_dict()
    aside = {*TrainConfig.RUNTIME, "data"} | (set() if config.is_conditional else LABELS_ALONE)
    different = [name for name in wanted if name not in aside and there[name] != wanted[name]]
    if different:
        said = ", ".join(f"{name} is {there[name]} there and {wanted[name]} in the recipe" for name in different)
        raise BuildError(f"{path}: {said}")
    if there["data"] != config.data:
        own, public = load_data(there["data"]), load_data(config.data)
        if not torch.equal(own.images, public.images) or (config.is_conditional and not _same_labels(own, public)):
            raise BuildError(f"{path}: was trained on {there['data']}, which is not {config.data}")
    return checkpoint


def _same_labels(one: ImageData, other: ImageData) -> bool:
    return one.labels is not None and other.labels is not None and torch.equal(one.labels, other.labels)


def exported(recipe: Recipe, weights: Path, out: Path) -> Artifact:
    """The artifact of these weights, with every variant that the recipe names."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    for _ in range(TRIES):
        if not _is_whole(out, recipe, digest):
            run([*recipe.export_command(weights), "--out", str(out), "--force"])
        if _is_whole(out, recipe, digest):
            return load_artifact(out)
    raise BuildError(f"{out}: {recipe.variants} were asked for; its README.md says why one is left out")


def _is_whole(folder: Path, recipe: Recipe, digest: str) -> bool:
    """Whether it is the artifact of weights with this digest, by today's packages, and nothing was left out."""
    if not is_artifact(folder):
        return False
    manifest = load_artifact(folder).manifest
    made, origin = {variant.name for variant in manifest.variants}, manifest.provenance
    is_current = origin.source_sha256 == digest and origin.packages == package_versions()
    return is_current and made >= set(recipe.variants.split(","))


def published(
    recipe: Recipe,
    run_folder: Path,
    checkpoint: Checkpoint,
    artifact: Artifact,
    evaluations: list[VariantEvaluation],
    out: Path,
) -> Path:
    """The artifact with its card and pictures, renamed into place."""
    folder = out / recipe.name
    alarms = _alarms(run_folder, checkpoint.step)
    with _replacing(folder, artifact) as staging:
        _write_figures(staging, recipe, _training(checkpoint, alarms), artifact, evaluations)
        annotations = [Annotation(alarm.step, str(i), f"{i} {alarm.kind}", True) for i, alarm in enumerate(alarms, 1)]
        picture = draw_picture(checkpoint.history, checkpoint.step, annotations)
        picture.save(staging / "curves.png", optimize=True)
    return folder


@contextlib.contextmanager
def _replacing(folder: Path, artifact: Artifact) -> Iterator[Path]:
    """A copy of the artifact to be completed; it takes the folder's place when the block has ended well."""
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        shutil.copytree(artifact.directory, staging)
        yield staging
        size = sum(file.stat().st_size for file in staging.iterdir())
        if size > LARGEST_BYTES:
            raise BuildError(f"{folder}: has {size:,} bytes, {LARGEST_BYTES:,} are allowed; make the generator smaller")
        _put(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put(new: Path, folder: Path) -> None:
    """Rename a folder into the place of another, which is deleted when the new one is there, and comes back if not."""
    aside = folder.with_name(f".{folder.name}.old.part")
    try:
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        new.rename(folder)
    except BaseException:
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _write_figures(
    staging: Path,
    recipe: Recipe,
    training: dict[str, Any],
    artifact: Artifact,
    evaluations: list[VariantEvaluation],
) -> None:
    """Figures, card and the picture of neighbours into an artifact's folder."""
    shares = evaluations[0].values["class_shares"] or []
    figures = {
        "training": training,
        "hosts": {each.variant: each.host for each in evaluations},
        "class_names": artifact.manifest.class_names or list(map(str, range(len(shares)))),
        "variants": {each.variant: each.values for each in evaluations},
    }
    (staging / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    card = write_card(recipe, (artifact.directory / "README.md").read_text("utf-8"), figures)
    (staging / "README.md").write_text(card, "utf-8")
    if evaluations[0].neighbours is not None:
        shutil.copy(evaluations[0].neighbours, staging / "neighbours.png")


def _training(checkpoint: Checkpoint, alarms: list[Alarm]) -> dict[str, Any]:
    """What the card says of the run."""
    rates = [line["images_per_second"] for line in checkpoint.history if "images_per_second" in line]
    return {
        "steps": checkpoint.step,
        "batch_size": checkpoint.config.batch_size,
        "seconds": round(checkpoint.seconds),
        "alarms": [alarm.message for alarm in alarms],
        "images_per_second": round(statistics.median(rates)) if rates else None,
    }


def _alarms(run_folder: Path, steps: int) -> list[Alarm]:
    """Those that rang up to this step, in their order."""
    path = run_folder / "alarms.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    alarms = [Alarm(**json.loads(line)) for line in lines]
    return sorted((alarm for alarm in alarms if alarm.step <= steps), key=lambda alarm: alarm.step)


if __name__ == "__main__":
    main()
