"""gan-eval: parse, call, print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text
from torch import nn

from gan_training.checkpoint import CheckpointError
from gan_training.config import ConfigError
from gan_training.data import DataError, ImageData, UnknownSourceError, load_data
from gan_training.data.source import ProgressFn
from gan_training.evaluation.evaluate import MEANINGS, REAL_COUNTERPARTS, EvaluatedSamples, Evaluator, split
from gan_training.evaluation.samples import (
    Prepared,
    found_in,
    labels_as_in,
    prepare_samples,
    refuse_few,
    resized,
    shape_wanted,
)
from gan_training.metrics.features import FeatureExtractor, extractor_for
from gan_training.metrics.inception import InceptionExtractor
from gan_training.metrics.inception_net import WEIGHTS_VARIABLE, InceptionError, InceptionMissingError, load_inception
from gan_training.pages.eval_page import neighbour_pairs, real_value, write_page
from gan_training.pages.page import check_target, number, write_picture
from gan_training.watch.duplicates import count_shared

from . import eval_options as options
from .command import run_command
from .eval_options import FeaturesOption
from .terminal import console_of_stderr

EPILOG = """
Examples:

  gan-eval runs/digits/ckpt.pt --data digits

  gan-eval runs/a/ckpt.pt runs/b/ckpt.pt --data idx:mnist --test-data 'idx:mnist#test' --page report.html

  gan-eval samples/ --data folder:photos --json

  gan-eval samples/ --data folder:photos --features inception

--version shows the version.
"""

SHARED = 0.01  # share of the test images up to which nobody is told that they are training images too
LOG_WIDTH = 160  # characters, where there is no terminal to ask

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(epilog=EPILOG)
def evaluate(
    images: options.Images,
    data: options.Data,
    test_data: options.TestData = None,
    n: options.Count = 10_000,
    image_size: options.ImageSize = None,
    channels: options.Channels = None,
    weights: options.Weights = "ema",
    seed: options.Seed = 0,
    features: options.Features = FeaturesOption.AUTO,
    page: options.Page = None,
    neighbours: options.Neighbours = None,
    as_json: options.Json = False,
) -> None:
    """Judge a checkpoint, or images that anybody generated, against real ones; several side by side."""
    if neighbours is not None and len(images) > 1:
        raise ConfigError(f"--neighbours is for one CKPT or IMAGES, not {len(images)}")
    for target in filter(None, (page, neighbours)):
        check_target(target)
    inception, why_not = _inception(features)
    size_wanted, channels_wanted = shape_wanted(images)
    train, test, held_out_of = _real(data, test_data, image_size or size_wanted, channels or channels_wanted)
    for real in (train, test):
        refuse_few(real.images, real.source)
    prepared = [
        (path, prepare_samples(path, train, n, weights=weights, seed=seed, held_out_of=held_out_of)) for path in images
    ]
    told = [why_not, *found_in(train), *found_in(test), *resized(test, train), _shared(test, train)]
    notes = list(
        dict.fromkeys(note for note in (*told, *(note for _, ready in prepared for note in ready.notes)) if note)
    )
    _tell(notes)
    evaluator, evaluated = _evaluate(train, test, inception, prepared)
    warning = evaluator.rank_warning({str(path): len(samples.images) for path, samples, _ in evaluated})
    if warning:
        notes.append(warning)
        _tell([warning])
    if page is not None:
        write_page(page, evaluator, evaluated, MEANINGS, REAL_COUNTERPARTS, notes)
    if neighbours is not None:
        write_picture(neighbours, neighbour_pairs(evaluator, evaluated[0].samples))
    _print(evaluated, notes, as_json=as_json)
    if page is not None:
        print(page, file=sys.stderr if as_json else sys.stdout)


def _evaluate(
    train: ImageData, test: ImageData, inception: nn.Module | None, prepared: Sequence[tuple[Path, Prepared]]
) -> tuple[Evaluator, list[EvaluatedSamples]]:
    """Evaluate each set of samples, with a progress bar; `inception`: measures instead of the classifier."""
    with _bar() as bar:
        task = bar.add_task("training the classifier that measures", total=None)
        classifier = extractor_for(train, test, progress=_into(bar, task))
        extractor: FeatureExtractor = classifier if inception is None else InceptionExtractor(inception, classifier)
        evaluator = Evaluator(train, test, extractor, _into(bar, bar.add_task("measuring", total=None)))
        evaluated: list[EvaluatedSamples] = []
        for path, ready in prepared:
            samples = ready.draw(_into(bar, bar.add_task(f"judging {path}", total=None)))
            evaluated.append(EvaluatedSamples(path, samples, evaluator.evaluate(samples)))
    return evaluator, evaluated


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"gan-eval: {note}", file=sys.stderr)


def _print(evaluated: Sequence[EvaluatedSamples], notes: Sequence[str], *, as_json: bool) -> None:
    """The results on stdout, as JSON with all notes in each of them, or as a table."""
    if as_json:
        found = [{"source": str(path), **result.to_dict(), "notes": notes} for path, _, result in evaluated]
        print(json.dumps(found))
    else:
        console = Console()
        (console if console.is_terminal else Console(width=LOG_WIDTH)).print(_table(evaluated))


def _inception(features: FeaturesOption) -> tuple[nn.Module | None, str]:
    """The net, or None where the classifier is to measure; and a line for the user who wanted the net."""
    if features is FeaturesOption.CLASSIFIER:
        return None, ""
    try:
        return load_inception(), ""
    except InceptionMissingError as error:
        if features is FeaturesOption.INCEPTION:
            raise
        return None, f"measuring with the classifier: {error}" if os.environ.get(WEIGHTS_VARIABLE) else ""


def _bar() -> Progress:
    console = console_of_stderr()
    what = TextColumn("{task.description}", markup=False)  # names of files are no markup
    columns = (what, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _into(bar: Progress, task: TaskID) -> ProgressFn:
    return lambda done, total: bar.update(task, completed=done, total=total)


def _real(
    data: str, test_data: str | None, image_size: int | None, channels: int | None
) -> tuple[ImageData, ImageData, str]:
    """Training and test images, and the digest of the data that both are of, if they are of one."""
    train = load_data(data, image_size, channels)
    if test_data is None:
        return *split(train), train.digest()
    test = load_data(test_data, train.image_size, train.channels, all_classes=False)
    labels = labels_as_in(test, train)
    names = () if labels is None else train.class_names
    return train, replace(test, labels=labels, class_names=names), ""


def _shared(test: ImageData, train: ImageData) -> str:
    """A line for the user where test images are training images too; otherwise nothing."""
    count = count_shared(test.images, train.images)
    if count <= SHARED * len(test):
        return ""
    return (
        f"{count:,} of the {len(test):,} test images ({test.source}) are training images ({train.source}) too: the "
        "figures of real images look better than they are; give --test-data that was held out"
    )


def _table(evaluated: Sequence[EvaluatedSamples]) -> Table:
    table = Table(
        Column("measure", no_wrap=True),
        *(Column(Text(str(path))) for path, _, _ in evaluated),
        "real images",
        "",
        box=None,
        pad_edge=False,
    )
    results = [result.to_dict() for _, _, result in evaluated]
    for name, what in MEANINGS.items():
        values = [result[name] for result in results]
        if any(value is not None for value in values):
            table.add_row(name, *map(number, values), real_value(name, results, REAL_COUNTERPARTS), what)
    table.add_row("features", *(result.features for _, _, result in evaluated), "", "whose, in the distances above")
    table.add_row(
        "classifier", *(result.classifier for _, _, result in evaluated), "", "figures compare under one only"
    )
    table.add_row("images", *(f"{result.images:,}" for _, _, result in evaluated), "", "")
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `gan-eval`. Exit codes: 0, 1 (failed), 2 (bad arguments), 130 (Ctrl-C, SIGTERM)."""
    failures: dict[type[Exception], int] = {
        ConfigError: 2,
        UnknownSourceError: 2,  # before DataError, which it is one of
        DataError: 1,
        CheckpointError: 1,
        InceptionError: 1,
    }
    run_command(app, "gan-eval", arguments, failures, "stopped")
