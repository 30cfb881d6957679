"""`gan-client`: parses, calls the client, prints. Results go to stdout, all else to stderr.

Exit codes: 0 done, 2 wrong arguments, 130 Ctrl-C, 1 anything else; errors are one line.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar, cast

import typer

from . import arguments, labels
from ._constants import DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT, MAX_COLUMNS, MAX_RETRIES, MAX_TIMEOUT
from .client import GanClient
from .errors import GanError, InvalidArgumentError, InvalidRequestError, NotFoundError, UnavailableError, one_line
from .output import record, refuse_unwritable, summary, write

_T = TypeVar("_T")

PROGRAM: Final = "gan-client"
_LONGEST_NUMBER: Final = 40

# The base of all of Typer's complaints about a command line; Typer has no public name for it.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _BadValue(typer.BadParameter):
    """A wrong value whose message already names the option."""

    def format_message(self) -> str:
        return self.message


def _option(check: Callable[[object], _T]) -> Callable[[object], _T]:
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


def _timeout(value: object) -> float:
    return arguments.positive("timeout", value, MAX_TIMEOUT)


def _retries(value: object) -> int:
    return arguments.integer("retries", value, 0, MAX_RETRIES)


def _columns(value: object) -> int:
    return arguments.integer("columns", value, 1, MAX_COLUMNS)


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
    typer.Option("--timeout", metavar="S", parser=_option(_timeout), help="Seconds for the call, retries included."),
]
Retries = Annotated[
    int,
    typer.Option("--retries", metavar="R", parser=_option(_retries), help="Tries after the first failed one."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(PROGRAM, version("ganworks"))
        except PackageNotFoundError:
            print(PROGRAM, "(not installed: run from its sources)")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Ask a Ganworks service for images.

    \b
    Examples:
      gan-client health
      gan-client models
      gan-client sample --n 64 --label 7

    The service's URL and API key are taken from GAN_URL and GAN_API_KEY unless --url and --api-key are given.
    """


@app.command()
def sample(
    n: Annotated[
        int, typer.Option("--n", metavar="N", parser=_option(arguments.image_count), help="Number of images.")
    ] = 1,
    label: Annotated[
        str | None, typer.Option("--label", metavar="LABEL", help="Class id or class name for all images.")
    ] = None,
    label_list: Annotated[
        str | None,
        typer.Option("--labels", metavar="LIST", help="Labels to go through in turn: 0-9, or 0,3,5."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="S",
            parser=_option(arguments.seed_number),
            help="Image i has seed S + i; else random.",
        ),
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(
            "--truncation",
            metavar="T",
            parser=_option(arguments.truncation_bound),
            help="Cut normal latents to [-T, T], 0 < T <= 10.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="M", help="Generator; not needed when the service has one."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")] = Path("samples"),
    columns: Annotated[
        int | None,
        typer.Option(
            "--columns", metavar="C", parser=_option(_columns), help="Columns of the sheet; else near-square."
        ),
    ] = None,
    url: Url = None,
    api_key: Key = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    retries: Retries = DEFAULT_MAX_RETRIES,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary line.")] = False,
) -> None:
    """Draw images: one PNG each, and a contact sheet.

    \b
    Examples:
      gan-client sample --n 64 --label 7
      gan-client sample --n 100 --labels 0-9 --columns 10 --seed 123 --out digits
      gan-client sample --n 8 --label Sneaker --truncation 1.5 --json

    The same seed, label and model give the same images again. Nothing is written if the request fails.
    """
    if label is not None and label_list is not None:
        raise InvalidArgumentError(f"label is {label!r} and labels is {label_list!r}: give one of --label and --labels")
    chosen: arguments.Label | list[arguments.Label] | None = None
    if label is not None:
        chosen = labels.parse_label(label)
    elif label_list is not None:
        chosen = labels.parse_labels(label_list, n)

    started = time.perf_counter()
    with GanClient(url, api_key, timeout, retries) as client:
        refuse_unwritable(out)
        with _progress(f"Waiting for {n} image{'s' if n > 1 else ''} from {client.base_url}", quiet):
            generation = client.generate(n, chosen, seed=seed, truncation=truncation, model=model)
    files = write(generation, out, columns)
    seconds = time.perf_counter() - started
    if as_json:
        print(json.dumps(record(generation, files, seconds)))
    elif not quiet:
        print(summary(generation, out, seconds))


@app.command()
def models(url: Url = None, api_key: Key = None, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False) -> None:
    """List the generators that the service has loaded.

    \b
    Example:
      gan-client models --url http://gpu-box:3000 --json
    """
    with GanClient(url, api_key, timeout) as client:
        infos = client.models()
    if as_json:
        print(json.dumps({"models": [info.model_dump(mode="json") for info in infos]}))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("model", "family", "size", "latent", "classes")
    for info in infos:
        height, width = info.image_size
        cells = (
            info.name,
            info.family,
            f"{height} x {width} {'grey' if info.channels == 1 else 'RGB'}",
            f"{info.latent_dim} {info.latent_distribution}",
            "none" if info.class_names is None else f"{len(info.class_names)}: {', '.join(info.class_names)}",
        )
        table.add_row(*(Text(one_line(cell, 200)) for cell in cells))
    # Rich takes 80 columns for a pipe, which would fold the names that scripts look for.
    Console(width=None if sys.stdout.isatty() else 400).print(table)


@app.command()
def health(url: Url = None, api_key: Key = None, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False) -> None:
    """Ask whether the service is ready; exit code 0 if it is.

    \b
    Example:
      gan-client health --url http://gpu-box:3000
    """
    with GanClient(url, api_key, timeout) as client:
        answer = client.health()
    if as_json:
        print(json.dumps({"url": client.base_url, "ready": answer.ready, "status": answer.status}))
        raise typer.Exit(0 if answer else 1)
    if not answer:
        raise UnavailableError(f"{client.base_url} is not ready (HTTP {answer.status}): starting or draining")
    print(f"{client.base_url} is ready")


def _progress(message: str, quiet: bool) -> contextlib.AbstractContextManager[object]:
    if quiet or not sys.stderr.isatty():
        return contextlib.nullcontext()
    from rich.console import Console
    from rich.text import Text

    return Console(stderr=True).status(Text(message))


def _fail(message: str, code: int) -> int:
    print(f"{PROGRAM}: {one_line(message, 1000)}", file=sys.stderr)
    return code


def run(argv: Sequence[str]) -> int:
    """Run the command line `argv` (without the program's name); the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A class name may not exist in the terminal's encoding.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=list(argv) or ["--help"], prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        return _fail(f"{error.format_message()} (see `{PROGRAM} --help`)", 2)
    except InvalidArgumentError as error:
        return _fail(str(error), 2)
    except GanError as error:
        return _fail(str(error), 2 if _is_wrong_argument(error) else 1)
    except BrokenPipeError:
        # Whoever read stdout has left; the interpreter's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(f"can't print the result: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return 130
    return code if isinstance(code, int) else 0


def _is_wrong_argument(error: GanError) -> bool:
    """Whether the service refused what the user asked for, not how it was sent."""
    unknown_model = isinstance(error, NotFoundError) and error.code == "unknown_model"
    return isinstance(error, InvalidRequestError) or unknown_model


def main() -> None:
    """Entry point of `gan-client`."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
