"""What the commands' options have in common. Importing it is quick: the library is loaded when a command runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from gan_client._constants import (
    MAX_COLUMNS,
    MAX_FPS,
    MAX_IMAGES,
    MAX_QUALITY,
    MAX_RETRIES,
    MAX_SCALE,
    MAX_STEPS,
    MAX_TIMEOUT,
    MIN_STEPS,
)
from gan_client.errors import InvalidArgumentError
from gan_client.files import Place
from gan_client.terminal import Graphics

if TYPE_CHECKING:
    from gan_client.arguments import Label
    from gan_client.latent_file import LatentFile

_T = TypeVar("_T")

FOLDER: Final = Path("samples")
"""Where files go without --out."""

_LONGEST_NUMBER: Final = 40
_COMPLETION_SECONDS: Final = 1.0


class _BadValue(typer.BadParameter):
    """A wrong value whose message already names the option."""

    def format_message(self) -> str:
        return self.message


def checked(check: Callable[[object], _T]) -> Callable[[object], _T]:
    """A parser for Typer that gives a wrong number the same sentence as the Python call does."""

    def parse(value: object) -> _T:
        try:
            return check(_number(value))
        except InvalidArgumentError as error:
            raise _BadValue(str(error)) from error

    return parse


def _number(value: object) -> object:
    """The number that a text spells; anything else as it is, for the check to name it as it was written."""
    if not isinstance(value, str) or len(value) > _LONGEST_NUMBER:
        return value
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value


def whole(name: str, low: int, high: int) -> Callable[[object], int]:
    """A parser for an integer from `low` to `high`."""

    def check(value: object) -> int:
        from gan_client.arguments import integer

        return integer(name, value, low, high)

    return checked(check)


def _seed(value: object) -> int:
    from gan_client.arguments import seed_number

    return seed_number(value)


seed = checked(_seed)
"""A parser for a seed, 0 <= seed < 2**53."""


def _truncation(value: object) -> float:
    from gan_client.arguments import truncation_bound

    return truncation_bound(value)


def _timeout(value: object) -> float:
    from gan_client.arguments import positive

    return positive("timeout", value, MAX_TIMEOUT)


def _graphics(value: object) -> Graphics:
    try:
        return Graphics(str(value))
    except ValueError:
        raise _BadValue(f"show is {str(value)!r}: give {', '.join(Graphics)}") from None


def _model_names(incomplete: str) -> list[str]:
    """For the shell's completion of --model: what the service at GAN_URL has, if it says so at once."""
    from gan_client.client import GanClient
    from gan_client.errors import GanError

    with contextlib.suppress(GanError), GanClient(timeout=_COMPLETION_SECONDS, max_retries=0) as client:
        return [info.name for info in client.models.list() if info.name.startswith(incomplete)]
    return []


Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The service; else GAN_URL, else http://localhost:3000."),
]
Key = Annotated[
    str | None,
    typer.Option("--api-key", metavar="KEY", help="API key; better in GAN_API_KEY, which `ps` doesn't show."),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="S", parser=checked(_timeout), help="Seconds for a call, retries included."),
]
Retries = Annotated[
    int,
    typer.Option(
        "--retries", metavar="R", parser=whole("retries", 0, MAX_RETRIES), help="Tries after the first failed one."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No picture, no progress and no summary line.")]
Force = Annotated[bool, typer.Option("--force", help="Replace existing files that have different content.")]
Count = Annotated[
    int | None,
    typer.Option(
        "--n",
        metavar="N",
        parser=whole("n", 1, MAX_IMAGES),
        help="Number of images; else one for each of --labels, --seeds or --latents, else 1.",
    ),
]
LabelText = Annotated[
    str | None, typer.Option("--label", metavar="LABEL", help="Class id or class name for all images.")
]
LabelList = Annotated[
    str | None,
    typer.Option("--labels", metavar="LIST", help="Labels to go through in turn: 0-9, or 0,3,5, or cat,dog."),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="S", parser=seed, help="Image i has seed S + i; else random."),
]
SeedList = Annotated[str | None, typer.Option("--seeds", metavar="LIST", help="A seed for each image: 1,5,9, or 0-15.")]
Latents = Annotated[
    Path | None,
    typer.Option(
        "--latents",
        metavar="FILE",
        help="Draw from the numbers in an npy or JSON file, (n, latent_dim), not seeds; - is stdin.",
    ),
]
Truncation = Annotated[
    float | None,
    typer.Option(
        "--truncation", metavar="T", parser=checked(_truncation), help="Cut normal latents to [-T, T], 0 < T <= 10."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="M", help="Generator; else the service's default one.", autocompletion=_model_names
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="Generator; else the service's default one.", autocompletion=_model_names),
]
Columns = Annotated[
    int | None,
    typer.Option(
        "--columns",
        metavar="C",
        parser=whole("columns", 1, MAX_COLUMNS),
        help="Columns of the sheet; else near-square.",
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(
        "--quality",
        metavar="Q",
        parser=whole("quality", 1, MAX_QUALITY),
        help="1 to 100: of jpeg (else 90), and of webp (else lossless).",
    ),
]
Scale = Annotated[
    int | None,
    typer.Option(
        "--scale",
        metavar="N",
        parser=whole("scale", 1, MAX_SCALE),
        help="Enlarge pictures: each pixel becomes N x N, 1 to 64; for png, webp and jpeg.",
    ),
]
Steps = Annotated[
    int,
    typer.Option(
        "--steps",
        metavar="K",
        parser=whole("steps", MIN_STEPS, MAX_STEPS),
        help="Frames from one image to the next, 2 to 240.",
    ),
]
Fps = Annotated[
    int,
    typer.Option(
        "--fps", metavar="F", parser=whole("fps", 1, MAX_FPS), help="Frames per second, 1 to 60; a gif has 50 at most."
    ),
]
Show = Annotated[
    Graphics | None,
    typer.Option(
        "--show",
        metavar="KIND",
        parser=_graphics,
        help="Picture in the terminal: kitty, iterm, sixel, blocks or none; else the best that the terminal can.",
        autocompletion=lambda incomplete: [kind for kind in Graphics if kind.startswith(incomplete)],
    ),
]
NoShow = Annotated[bool, typer.Option("--no-show", help="The same as --show none.")]


def shown(show: Graphics | None, no_show: bool, *, silent: bool) -> Graphics | None:
    """What --show, --no-show, and --quiet or --json (`silent`) come to; None is what the terminal can."""
    if no_show:
        return Graphics.NONE
    return Graphics.NONE if silent and show is None else show


def takes_stdout(out: Place | None, as_json: bool) -> bool:
    """Whether `out` is stdout. Raises InvalidArgumentError if --json wants it too."""
    from gan_client.output import STDOUT

    is_stdout = out is not None and out.path == STDOUT
    if is_stdout and as_json:
        raise InvalidArgumentError("out is '-' and json is given: only one of them can have stdout", param="out")
    return is_stdout


def one_of(**options: object) -> str | None:
    """The name of the one option that is given, None if none is. Raises InvalidArgumentError if several are."""
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        names = " and ".join(f"{name} is {str(options[name])!r}" for name in given[:2])
        choice = ", ".join(f"--{name}" for name in options)
        raise InvalidArgumentError(f"{names}: give one of {choice}", param=given[1])
    return given[0] if given else None


def labels_of(label: str | None, label_list: str | None) -> Label | list[Label] | None:
    """What --label and --labels come to. Raises InvalidArgumentError."""
    from gan_client.labels import parse_label, parse_labels

    chosen = one_of(label=label, labels=label_list)
    if chosen is None:
        return None
    return parse_label(label or "") if chosen == "label" else parse_labels(label_list or "")


def latents_of(path: Path | None) -> LatentFile | None:
    """What --latents comes to. Raises InvalidArgumentError."""
    from gan_client import latent_file

    return None if path is None else latent_file.read(path)
