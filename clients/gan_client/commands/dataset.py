"""`gan-client dataset`: any number of images, class-balanced, resumed after any interruption."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gan_client._constants import DEFAULT_TIMEOUT, MAX_IMAGES, STREAM_CHUNK
from gan_client.datasets.plan import DEFAULT_SHARD_SIZE, MAX_DATASET, Layout
from gan_client.errors import InvalidArgumentError, one_line
from gan_client.files import Place, format_named

from . import options
from .progress import show_progress
from .stopping import INTERRUPTED, CommandStopped

if TYPE_CHECKING:
    from gan_client.client import GanClient
    from gan_client.datasets.destination import Destination
    from gan_client.datasets.plan import Plan
    from gan_client.types import ModelInfo

_RETRIES: Final = 12  # 43 s of pauses in the mean, 79 s at most: a restart of the service is no reason to stop
_TIMEOUT: Final = max(DEFAULT_TIMEOUT, 120.0)


def _layout(value: object) -> Layout:
    try:
        return Layout(str(value))
    except ValueError:
        raise InvalidArgumentError(f"format is {str(value)!r}: give {', '.join(Layout)}", param="format") from None


Out = Annotated[Place, typer.Option("--out", metavar="PATH", parser=Place.of, help="A folder, or FILE.npz.")]
Count = Annotated[
    int | None,
    typer.Option("--n", metavar="N", parser=options.whole("n", 1, MAX_DATASET - 1), help="Number of images in all."),
]
Each = Annotated[
    int | None,
    typer.Option(
        "--each",
        metavar="K",
        parser=options.whole("each", 1, MAX_DATASET - 1),
        help="Number of images of each class, instead of --n.",
    ),
]
FileFormat = Annotated[
    Layout | None,
    typer.Option(
        "--format",
        metavar="F",
        parser=options.checked(_layout),
        help="folder (a PNG each, a folder for each class), npz or webdataset (tar shards); else as --out ends.",
        autocompletion=lambda incomplete: [kind for kind in Layout if kind.startswith(incomplete)],
    ),
]
LabelList = Annotated[
    str | None,
    typer.Option("--labels", metavar="LIST", help="Classes, equally often: 0-9, or cat,dog; else all."),
]
ShardSize = Annotated[
    int | None,
    typer.Option(
        "--shard-size",
        metavar="N",
        parser=options.whole("shard-size", 1, MAX_DATASET),
        help=f"Images in a shard of webdataset [{DEFAULT_SHARD_SIZE}].",
    ),
]
Chunk = Annotated[
    int,
    typer.Option("--chunk", metavar="N", parser=options.whole("chunk", 1, MAX_IMAGES), help="Images of one request."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Delete the data set of gan-client that is already there and start over.")
]


def dataset(
    out: Out,
    n: Count = None,
    each: Each = None,
    file_format: FileFormat = None,
    label_list: LabelList = None,
    seed: options.Seed = None,
    truncation: options.Truncation = None,
    model: options.Model = None,
    shard_size: ShardSize = None,
    chunk: Chunk = STREAM_CHUNK,
    force: Force = False,
    url: options.Url = None,
    api_key: options.Key = None,
    timeout: options.Timeout = _TIMEOUT,
    retries: options.Retries = _RETRIES,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw a class-balanced data set of any size.

    \b
    Examples:
      gan-client dataset --out digits --n 100000
      gan-client dataset --out digits.npz --each 1000 --labels 0-4 --seed 0
      gan-client dataset --out shards --format webdataset --n 1000000

    Every class has the same number of images, or one more; labels.csv lists them.

    The same command run again continues after Ctrl-C, a crash or an error, and ends with exactly the bytes of an
    uninterrupted run. It refuses to continue with another request, or with another version of the generator. Progress
    goes to stderr.
    """
    from gan_client.catalog import model_named
    from gan_client.client import GanClient
    from gan_client.datasets.build import prepare
    from gan_client.datasets.destination import Destination

    if options.one_of(n=n, each=each) is None:
        raise InvalidArgumentError(
            "n is not given: give --n for all images, or --each for those of each class", param="n"
        )
    destination = Destination(out.path, _layout_of(out, file_format, shard_size))
    saved = destination.saved(force=force)
    with GanClient(url, api_key, timeout, retries) as client:
        kept = None if force else saved
        info = model_named(client, model if model is not None or kept is None else kept.model)
        if seed is None and saved is not None:
            seed = saved.seed
        plan = _plan_of(info, destination.layout, n, each, label_list, seed, truncation, shard_size)
        prepare(destination, plan, saved, force=force)
        started = time.perf_counter()
        drawn = _draw(client, destination, plan, chunk, quiet)
    seconds = time.perf_counter() - started
    if as_json:
        print(json.dumps(_record(plan, destination, drawn, seconds)))
    elif not quiet:
        print(_summary(plan, destination, drawn, seconds))


def _layout_of(out: Place, file_format: Layout | None, shard_size: int | None) -> Layout:
    """The layout that --format or the name of --out asks for. Raises InvalidArgumentError if they disagree, or for the
    name of another kind of file."""
    suffix = "" if out.ends_in_slash else out.path.suffix
    is_npz = suffix.lower() == ".npz"
    if not is_npz and not out.is_folder and format_named(out.path):
        raise InvalidArgumentError(
            f"out is {str(out)!r}: a data set is a folder (--format folder or webdataset), whose name does not end in "
            f"{suffix}, or a file FILE.npz",
            param="out",
        )
    layout = file_format or (Layout.NPZ if is_npz else Layout.FOLDER)
    if (layout is Layout.NPZ) != is_npz:
        raise InvalidArgumentError(
            f"out is {str(out)!r} and format is {layout.value}: a name ending in .npz is for npz only", param="out"
        )
    if shard_size is not None and layout is not Layout.WEBDATASET:
        raise InvalidArgumentError(
            f"shard-size is {shard_size}: it is for --format webdataset only", param="shard-size"
        )
    return layout


def _draw(client: GanClient, destination: Destination, plan: Plan, chunk: int, quiet: bool) -> int:
    """Draw what is missing, with progress; the number of images drawn. Raises GanError, CommandStopped."""
    from gan_client.datasets.build import build

    with show_progress(plan.n, f"Drawing {destination.out}", quiet) as report:
        try:
            return build(client, destination, plan, chunk=chunk, report=report).drawn
        except KeyboardInterrupt:
            raise CommandStopped(
                f"interrupted: run the same command to continue with {destination.out}", INTERRUPTED
            ) from None


def _plan_of(
    info: ModelInfo,
    layout: Layout,
    n: int | None,
    each: int | None,
    label_list: str | None,
    seed: int | None,
    truncation: float | None,
    shard_size: int | None,
) -> Plan:
    """What the options of the same names come to for this generator. Raises InvalidArgumentError."""
    from gan_client.arguments import integer, seed_number
    from gan_client.datasets.plan import Plan
    from gan_client.labels import class_ids, parse_labels
    from gan_client.requests import random_seed

    labels: tuple[int, ...] | None = None
    if info.class_names is not None:
        every = range(len(info.class_names))
        labels = tuple(
            every if label_list is None else class_ids(parse_labels(label_list), info.class_names, info.name)
        )
        if len(set(labels)) < len(labels):
            raise InvalidArgumentError(
                f"labels is {label_list!r}: give each class once, all get the same number of images", param="labels"
            )
    elif label_list is not None or each is not None:
        option = "labels" if label_list is not None else "each"
        raise InvalidArgumentError(
            f"{option} is {label_list or each}: the generator {info.name!r} has no classes, give --n alone",
            param=option,
        )
    count = integer("n", n if each is None else each * len(labels or ()), 1, MAX_DATASET - 1)
    return Plan(
        layout=layout,
        model=info.name,
        artifact=info.artifact,
        n=count,
        seed=random_seed(count) if seed is None else seed_number(seed, count),
        labels=labels,
        truncation=truncation,
        shard_size=(shard_size or DEFAULT_SHARD_SIZE) if layout is Layout.WEBDATASET else None,
        class_names=None if info.class_names is None else tuple(info.class_names),
        image_size=info.image_size,
        channels=info.channels,
    )


def _record(plan: Plan, destination: Destination, drawn: int, seconds: float) -> dict[str, Any]:
    return {
        "model": plan.model,
        "artifact": plan.artifact,
        "n": plan.n,
        "seed": plan.seed,
        "labels": plan.labels,
        "format": plan.layout.value,
        "out": str(destination.out),
        "table": str(destination.table),
        "drawn": drawn,
        "seconds": round(seconds, 3),
        "images_per_second": round(drawn / seconds, 1) if drawn else None,
    }


def _summary(plan: Plan, destination: Destination, drawn: int, seconds: float) -> str:
    seeds = f"seeds {plan.seed}-{plan.seed + plan.n - 1}" if plan.n > 1 else f"seed {plan.seed}"
    many = "s" if plan.n > 1 else ""
    what = f"{plan.n:,} image{many} of '{one_line(plan.model, 200)}', {seeds} -> {destination.out}"
    if not drawn:
        return f"{what}: complete, there was nothing left to draw"
    now = "" if drawn == plan.n else f"{drawn:,} of them now, "
    return f"{what} ({now}{drawn / seconds:,.0f} images/s, labels: {destination.table}) in {seconds:.1f} s"
