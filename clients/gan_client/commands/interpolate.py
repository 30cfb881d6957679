"""`gan-client interpolate`: the way from image to image."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from gan_client._constants import DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT
from gan_client.files import Place
from gan_client.terminal import Graphics

from . import options
from .spinner import spinner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gan_client.arguments import Label
    from gan_client.calls import MotionFormat
    from gan_client.client import GanClient
    from gan_client.rendered import Animation

FORMATS: Final = ("gif", "webp", "png", "npy")
_KEY_POINTS: Final = 4


SeedList = Annotated[
    str | None, typer.Option("--seeds", metavar="LIST", help="The images to pass through: 1,5,9; 2 to 64.")
]
Count = Annotated[
    int | None,
    typer.Option(
        "--n", metavar="N", parser=options.whole("n", 2, 64), help="Pass through N images, 2 to 64 [4]; with --seed."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="S", parser=options.seed, help="They have seeds S, S + 1, ...; else random."),
]
LabelList = Annotated[
    str | None, typer.Option("--labels", metavar="LIST", help="A label for each image passed through: 0,3,5.")
]
Loop = Annotated[bool, typer.Option("--loop", help="Continue from the last image to the first.")]
Out = Annotated[
    Place | None,
    typer.Option("--out", metavar="FILE", parser=Place.of, help="The file, or a folder for it [samples]; - is stdout."),
]
FileFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="F",
        help="gif, webp (animations), png (a sheet of all frames) or npy; else as --out ends, else gif.",
        autocompletion=lambda incomplete: [name for name in FORMATS if name.startswith(incomplete)],
    ),
]


def interpolate(
    seed_list: SeedList = None,
    n: Count = None,
    seed: Seed = None,
    latents: options.Latents = None,
    steps: options.Steps = 16,
    label: options.LabelText = None,
    label_list: LabelList = None,
    truncation: options.Truncation = None,
    loop: Loop = False,
    model: options.Model = None,
    out: Out = None,
    file_format: FileFormat = None,
    fps: options.Fps = 12,
    columns: options.Columns = None,
    quality: options.Quality = None,
    force: options.Force = False,
    show: options.Show = None,
    no_show: options.NoShow = False,
    url: options.Url = None,
    api_key: options.Key = None,
    timeout: options.Timeout = DEFAULT_TIMEOUT,
    retries: options.Retries = DEFAULT_MAX_RETRIES,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw an animation from image to image.

    \b
    Examples:
      gan-client interpolate --seeds 1,5,9 --label 7 --loop --out seven.gif
      gan-client interpolate --n 10 --labels 0-9 --steps 24 --out digits.webp
      gan-client interpolate --seeds 1,2 --format png --columns 17
      gan-client interpolate --latents z.npy --out frames.npy

    It becomes a gif, a webp, a sheet of all frames or an array. A terminal shows some frames. A file that
    exists with different content is replaced only with --force.
    """
    from gan_client import files, output, terminal
    from gan_client.client import GanClient

    wanted = output.format_of(file_format, out, FORMATS) or "gif"
    to_stdout = options.takes_stdout(out, as_json)
    graphics = options.shown(show, no_show, silent=quiet or as_json or to_stdout)
    points = _key_points_of(seed_list, n, seed, latents, label, label_list, model)
    path = _LatentPath(points, steps, truncation, loop)
    with GanClient(url, api_key, timeout, retries) as client:
        if not to_stdout:
            files.refuse_unwritable_file(output.place_of(out, options.FOLDER, "file"), "--out")
        started = time.perf_counter()
        with spinner(f"Waiting for the path through {points.count} images from {client.base_url}", quiet):
            if wanted == "npy":
                made = path.array(client)
            else:
                made = path.animation(client, cast("MotionFormat", wanted), fps, columns, quality)
    seeds = points.seeds or []
    place = output.place_of(out, options.FOLDER, f"interpolation_{output.seeds_name(seeds, points.count)}.{wanted}")
    output.write_one(made.data, place, force=force, other="--out")
    if to_stdout:
        return
    seconds = time.perf_counter() - started
    if graphics is not Graphics.NONE and wanted != "npy":
        terminal.show(output.film(made.data), graphics)
    if as_json:
        print(json.dumps({**output.file_record(made, place, seeds, seconds), "frames": made.frames}))
    elif not quiet:
        what = "frames" if made.frames is None else f"{made.frames} frames"
        print(output.file_summary(made, place, what, seeds, seconds))


@dataclass(frozen=True)
class _KeyPoints:
    """The images to pass through: their seeds or their latents."""

    seeds: list[int] | None
    latents: NDArray[np.float64] | None
    label: Label | list[Label] | None
    model: str | None

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.seeds or []) if self.latents is None else len(self.latents)


@dataclass(frozen=True)
class _LatentPath:
    """The way past them."""

    points: _KeyPoints
    steps: int
    truncation: float | None
    loop: bool

    def array(self, client: GanClient) -> Animation:
        """Its frames as an npy file. Raises GanError."""
        from gan_client import output

        points = self.points
        return output.npy_file(
            client.frames(
                points.seeds, latents=points.latents, steps=self.steps, label=points.label,
                truncation=self.truncation, loop=self.loop, model=points.model,
            )
        )  # fmt: skip

    def animation(
        self, client: GanClient, wanted: MotionFormat, fps: int, columns: int | None, quality: int | None
    ) -> Animation:
        """Its frames as a file of the service. Raises GanError."""
        points = self.points
        return client.interpolate(
            points.seeds, latents=points.latents, steps=self.steps, label=points.label, truncation=self.truncation,
            loop=self.loop, model=points.model, fps=fps, format=wanted, columns=columns, quality=quality,
        )  # fmt: skip


def _key_points_of(
    seed_list: str | None,
    n: int | None,
    seed: int | None,
    latents: Path | None,
    label: str | None,
    label_list: str | None,
    model: str | None,
) -> _KeyPoints:
    """What the options of the same names come to. Raises InvalidArgumentError."""
    from gan_client.arguments import seed_number
    from gan_client.labels import parse_seeds
    from gan_client.requests import random_seed

    options.one_of(seeds=seed_list, seed=seed, latents=latents)
    options.one_of(seeds=seed_list, n=n, latents=latents)
    chosen = options.labels_of(label, label_list)
    given = options.latents_of(latents)
    if given is not None:
        labels: Label | list[Label] | None = [*given.labels] if chosen is None and given.labels else chosen
        return _KeyPoints(None, given.latents, labels, model or given.model)
    if seed_list is not None:
        seeds = parse_seeds(seed_list)
    else:
        points = n or (len(chosen) if isinstance(chosen, list) else _KEY_POINTS)
        first = random_seed(points) if seed is None else seed_number(seed, points)
        seeds = list(range(first, first + points))
    return _KeyPoints(seeds, None, chosen, model)
