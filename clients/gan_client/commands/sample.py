"""`gan-client sample`: images as files."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import typer

from gan_client._constants import DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT, MAX_COLUMNS, MAX_IMAGES
from gan_client.errors import InvalidArgumentError
from gan_client.files import Place
from gan_client.terminal import Graphics

from . import options
from .spinner import spinner

if TYPE_CHECKING:
    from gan_client.calls import RenderFormat
    from gan_client.client import GanClient
    from gan_client.rendered import Rendered

    from .sample_arguments import SampleArguments

FORMATS: Final = ("png", "webp", "jpeg", "zip", "npy", "json")


Each = Annotated[
    int | None,
    typer.Option(
        "--each",
        metavar="K",
        parser=options.whole("each", 1, MAX_IMAGES),
        help="K images of each of --labels, else of each class; in K columns, a row for each.",
    ),
]
Out = Annotated[
    Place | None,
    typer.Option(
        "--out",
        metavar="PATH",
        parser=Place.of,
        help="Folder for the files [samples]; one file with --format; - is stdout.",
    ),
]
FileFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="F",
        help="One file from the service: png, webp, jpeg (a sheet), npy, zip or json; else as --out ends.",
        autocompletion=lambda incomplete: [name for name in FORMATS if name.startswith(incomplete)],
    ),
]
Grid = Annotated[
    Path | None,
    typer.Option("--grid", metavar="FILE", help="The contact sheet goes here; no single images without --out."),
]


def sample(
    n: options.Count = None,
    label: options.LabelText = None,
    label_list: options.LabelList = None,
    each: Each = None,
    seed: options.Seed = None,
    seed_list: options.SeedList = None,
    latents: options.Latents = None,
    truncation: options.Truncation = None,
    model: options.Model = None,
    out: Out = None,
    file_format: FileFormat = None,
    grid: Grid = None,
    columns: options.Columns = None,
    scale: options.Scale = None,
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
    """Draw images: one PNG each, and a contact sheet.

    \b
    Examples:
      gan-client sample --n 64 --label 7
      gan-client sample --each 10 --columns 10 --seed 123 --out digits
      gan-client sample --seeds 1,5 --label Bag --model fashion-cgan --json
      gan-client sample --n 16 --grid sheet.webp --scale 8
      gan-client sample --n 1000 --out images.npy
      gan-client sample --latents z.json --format png --out - > z.png

    The same seed, label and model give the same images again. Nothing is written if the request fails. An existing
    file with the same content stays; one with different content is replaced only with --force. The next sheet in a
    folder is sheet-2.png.
    """
    from gan_client.client import GanClient
    from gan_client.output import format_of

    from .sample_arguments import sample_arguments_of

    options.one_of(grid=grid, format=file_format)
    wanted = format_of(file_format, None if grid is not None else out, FORMATS)
    graphics = options.shown(show, no_show, silent=quiet or as_json)
    with GanClient(url, api_key, timeout, retries) as client:
        arguments = sample_arguments_of(
            client, n=n, each=each, label=label, label_list=label_list, seed=seed, seed_list=seed_list,
            latents=latents, truncation=truncation, model=model,
        )  # fmt: skip
        if columns is None and each is not None and each < min(arguments.n, MAX_COLUMNS):
            columns = each
        delivery = _Delivery(out, grid, columns, scale, quality, force, graphics, as_json, quiet)
        if wanted is None:
            delivery.images(client, arguments)
        else:
            delivery.one_file(client, arguments, cast("RenderFormat", wanted))


@dataclass(frozen=True)
class _Delivery:
    """Where the images go, and what is said about them."""

    out: Place | None
    grid: Path | None
    columns: int | None
    scale: int | None
    quality: int | None
    force: bool
    graphics: Graphics | None
    as_json: bool
    quiet: bool

    def images(self, client: GanClient, arguments: SampleArguments) -> None:
        """A PNG for each image and the sheet, or what --grid says."""
        from gan_client import files, output, sheets, terminal

        grid, out = self.grid, None if self.out is None else self.out.path
        if grid is None and self.quality is not None:
            raise InvalidArgumentError(
                f"quality is {self.quality}: it is for --format and --grid only", param="quality"
            )
        if out == output.STDOUT:
            raise InvalidArgumentError("--out - is stdout, which takes one file: give its --format", param="format")
        if grid is None or out is not None:
            out = out or options.FOLDER
            files.refuse_unwritable(out, "--out")
        if grid is not None:
            sheet_kind = sheets.sheet_format(grid)
            files.refuse_unwritable_file(grid, "--grid")
        started = time.perf_counter()
        with spinner(f"Waiting for {arguments.count} from {client.base_url}", self.quiet):
            generation = arguments.generate(client)
        written: list[Path] = []
        sheet: Path | None = grid
        if out is not None:
            written = output.write_images(
                generation, out, self.columns, scale=self.scale or 1, sheet=grid is None, force=self.force
            )
            sheet = grid or written.pop()
        if grid is not None:  # last, so that images which can't be written leave no sheet of them
            data = sheets.sheet_of(generation, self.columns, sheet_kind, self.quality, self.scale or 1)
            output.write_one(data, grid, force=self.force, other="--grid")
        seconds = time.perf_counter() - started
        if self.graphics is not terminal.Graphics.NONE:
            terminal.show(generation.grid(self.columns), self.graphics)
        if self.as_json:
            print(json.dumps(output.record(generation, written, sheet, seconds)))
        elif not self.quiet:
            print(output.summary(generation, out, sheet, seconds))

    def _rendered(self, client: GanClient, arguments: SampleArguments, wanted: RenderFormat) -> Rendered:
        """The file as the service makes it, or, enlarged, as it is made here. Raises GanError."""
        from gan_client import sheets
        from gan_client.rendered import Rendered

        if self.scale is None:
            return arguments.render(client, wanted, self.columns, self.quality)
        if wanted == "png" and self.quality is not None:
            raise InvalidArgumentError(f"quality is {self.quality}: png has none, use webp or jpeg", param="quality")
        generation = arguments.generate(client)
        data = sheets.sheet_of(generation, self.columns, wanted, self.quality, self.scale)
        return Rendered(data, f"image/{wanted}", generation.model, generation.request_id, generation[0].seed)

    def one_file(self, client: GanClient, arguments: SampleArguments, wanted: RenderFormat) -> None:
        """One file, as the service makes it."""
        from gan_client import files, output, sheets, terminal

        if self.scale is not None and wanted not in sheets.PICTURES:
            raise InvalidArgumentError(
                f"scale is {self.scale} and format is {wanted!r}: only pictures are enlarged, "
                f"{', '.join(sheets.PICTURES)}",
                param="scale",
            )
        to_stdout = options.takes_stdout(self.out, self.as_json)
        if not to_stdout:
            files.refuse_unwritable_file(output.place_of(self.out, options.FOLDER, "file"), "--out")
        started = time.perf_counter()
        with spinner(f"Waiting for {arguments.count} from {client.base_url}", self.quiet):
            rendered = self._rendered(client, arguments, wanted)
        seeds = arguments.seeds or ([] if rendered.seed is None else range(rendered.seed, rendered.seed + arguments.n))
        path = output.place_of(self.out, options.FOLDER, f"{output.seeds_name(seeds, arguments.n)}.{wanted}")
        output.write_one(rendered.data, path, force=self.force, other="--out")
        if to_stdout:
            return
        seconds = time.perf_counter() - started
        if self.graphics is not terminal.Graphics.NONE and rendered.media_type.startswith("image/"):
            terminal.show(output.picture(rendered.data), self.graphics)
        if self.as_json:
            print(json.dumps(output.file_record(rendered, path, seeds, seconds)))
        elif not self.quiet:
            print(output.file_summary(rendered, path, arguments.count, seeds, seconds))
