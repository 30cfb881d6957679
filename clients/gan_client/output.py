"""What `gan-client` leaves behind: the files, and the words about them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from . import files, labels, sheets
from .errors import GanError, InvalidArgumentError, one_line
from .images import Generation, Image

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    from .rendered import Animation, Frames


class MadeFile(Protocol):
    """A file of the service: `Rendered`, `Animation`."""

    @property
    def data(self) -> bytes:
        """The file."""

    @property
    def media_type(self) -> str:
        """What it is."""

    @property
    def model(self) -> str | None:
        """Which generator made it, if the service said so."""

    @property
    def request_id(self) -> str:
        """The call's id."""


SHEET: Final = "sheet.png"
STDOUT: Final = Path("-")

_LONGEST_SEEDS: Final = 40
_SHOWN_FRAMES: Final = 24


def format_of(wanted: str | None, out: files.Place | None, formats: Sequence[str]) -> str | None:
    """The format of the one file asked for: the one `wanted`, else what the suffix of `out` names; None for neither.

    Raises InvalidArgumentError unless it is one of `formats`, and for the suffix of any other kind of file.
    """
    named = None if out is None or out.is_folder else files.format_named(out.path)
    if wanted is not None and wanted not in formats:
        raise InvalidArgumentError(f"format is {wanted!r}: give one of {', '.join(formats)}", param="format")
    if named is not None and named not in formats:
        ends = ", ".join(f".{name}" for name in (formats if wanted is None else [wanted]))
        raise InvalidArgumentError(f"out is {str(out)!r}: a file's name must end in one of {ends}", param="out")
    if wanted and named and wanted != named:
        raise InvalidArgumentError(f"format is {wanted!r} and out is {str(out)!r}: they must agree", param="format")
    return wanted or named


def write_images(
    generation: Generation, out: Path, columns: int | None, *, scale: int, sheet: bool, force: bool
) -> list[Path]:
    """The files of the images and, with `sheet`, the sheet: the first of sheet.png, sheet-2.png, ... that is free.

    Raises GanError, in which case no file was replaced.
    """
    names = zip(generation.file_names, generation, strict=True)
    contents = {name: sheets.png_of(image, scale) for name, image in names}
    if sheet:
        png = sheets.sheet_of(generation, columns, "png", None, scale)
        try:
            contents[SHEET if force else files.free_name(out, SHEET, png)] = png
        except OSError as error:
            raise GanError(f"can't write to {out}: {error.strerror or error}; give another place with --out") from error
    return files.save(out, contents, force=force, other="--out")


def write_one(data: bytes, path: Path, *, force: bool, other: str) -> None:
    """`data` as the file `path`, or on stdout for `-`. Raises GanError."""
    if path == STDOUT:
        if sys.stdout.isatty():
            raise GanError(f"stdout is a terminal: send the {len(data)} bytes to a file or a pipe")
        sys.stdout.buffer.write(data)
        return
    files.save(path.parent, {path.name: data}, force=force, other=other)


def place_of(out: files.Place | None, folder: Path, name: str) -> Path:
    """Where one file goes: `out`, or, if that is a folder or None, `name` in there or in `folder`."""
    if out is None:
        return folder / name
    return out.path / name if out.is_folder else out.path


def seeds_name(seeds: Sequence[int], n: int) -> str:
    """`seed-5`, `seeds-0-63`, `seeds-1-5-9`, `seeds-1-and-63-more`, and `latents-3` where there are no seeds."""
    if not seeds:
        return f"latents-{n}"
    text = labels.ranges(seeds).replace(",", "-")
    if len(text) > _LONGEST_SEEDS:
        return f"seeds-{seeds[0]}-and-{len(seeds) - 1}-more"
    return f"seed{'s' if len(seeds) > 1 else ''}-{text}"


def record(generation: Generation, images: Sequence[Path], sheet: Path | None, seconds: float) -> dict[str, Any]:
    """What `--json` prints of a generation, the files of its `images`, and its `sheet`."""
    return {
        "model": generation.model,
        "seeds": [image.seed for image in generation],
        "labels": [image.label for image in generation],
        "files": [str(path) for path in images],
        "sheet": None if sheet is None else str(sheet),
        "seconds": round(seconds, 3),
        "request_id": generation.request_id,
    }


def summary(generation: Generation, out: Path | None, sheet: Path | None, seconds: float) -> str:
    """One line: how many images of what, from which seeds, where, and how long it took."""
    many = "s" if len(generation) > 1 else ""
    parts = [f"{len(generation)} image{many} of '{one_line(generation.model, 200)}'"]
    ids = {image.label for image in generation if image.label is not None}
    if len(ids) == 1:
        label, name = str(generation[0].label), generation[0].label_name
        parts.append(f"label {label}" if name in (None, label) else f"label {label} ({one_line(str(name), 200)})")
    elif ids:
        parts.append(f"labels {labels.ranges(ids)}")
    seeds = [image.seed for image in generation if image.seed is not None]
    parts.append(f"seed{many} {labels.ranges(seeds)}" if seeds else "from latents")
    places = [] if out is None else [f"{out}{os.sep}"]
    if sheet is not None:
        places.append(f"(sheet: {sheet})" if places else str(sheet))
    return f"{', '.join(parts)} -> {' '.join(places)} in {seconds:.2f} s"


def file_record(made: MadeFile, path: Path, seeds: Sequence[int], seconds: float) -> dict[str, Any]:
    """What `--json` prints of one file of the service."""
    return {
        "model": made.model,
        "seeds": list(seeds),
        "file": str(path),
        "media_type": made.media_type,
        "bytes": len(made.data),
        "seconds": round(seconds, 3),
        "request_id": made.request_id,
    }


def file_summary(made: MadeFile, path: Path, what: str, seeds: Sequence[int], seconds: float) -> str:
    """One line: what it is, of which generator, from which seeds, where, and how long it took."""
    model = "" if made.model is None else f" of '{one_line(made.model, 200)}'"
    source = f"seed{'s' if len(seeds) > 1 else ''} {labels.ranges(seeds)}" if seeds else "from latents"
    return f"{what}{model}, {source} -> {path} ({made.media_type}, {len(made.data):,} bytes) in {seconds:.2f} s"


def picture(data: bytes) -> PILImage | None:
    """The picture in an image file of the service, of an animation the first frame; mode `L` or `RGB`.

    None if it has more pixels than Pillow takes for harmless, which no terminal shows anyhow. Raises GanError if it is
    damaged.
    """
    with _opened(data) as image:
        return None if image is None else _plain(image)


def film(data: bytes) -> PILImage | None:
    """Up to 24 frames of an animation, evenly spaced, as a sheet; a picture that stands still as `picture` gives it.

    None and GanError as of `picture`.
    """
    with _opened(data) as image:
        if image is None:
            return None
        count = getattr(image, "n_frames", 1)
        if count == 1:
            return _plain(image)
        tiles = []
        for i in range(shown := min(count, _SHOWN_FRAMES)):
            image.seek(i * (count - 1) // (shown - 1))
            frame = io.BytesIO()
            image.convert("RGB").save(frame, "PNG")
            tiles.append(Image(frame.getvalue(), None, None))
    return Generation(tiles, model="", request_id="").grid()


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[PILImage | None]:
    """An image file; None if it has more pixels than Pillow takes for harmless. Raises GanError if it is damaged."""
    from PIL import Image as PILImageModule

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PILImageModule.DecompressionBombWarning)
            try:
                image = PILImageModule.open(io.BytesIO(data), formats=["PNG", "WEBP", "JPEG", "GIF"])
            except (PILImageModule.DecompressionBombWarning, PILImageModule.DecompressionBombError):
                yield None
                return
        with image:
            yield image
    except (OSError, EOFError, SyntaxError, ValueError) as error:
        raise GanError(f"the service's picture is damaged ({error}): ask again") from error


def _plain(image: PILImage) -> PILImage:
    """In mode `L` or `RGB`."""
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def npy_file(frames: Frames) -> Animation:
    """The frames as an npy file."""
    import numpy as np

    from .rendered import Animation

    buffer = io.BytesIO()
    np.save(buffer, frames.arrays, allow_pickle=False)
    return Animation(buffer.getvalue(), "application/x-npy", frames.model, frames.request_id, len(frames))
