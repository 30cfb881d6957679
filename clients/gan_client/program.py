"""The commands of `gan-client`, its errors and its exit codes. Results go to stdout, all else to stderr."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, cast

import typer

from ._version import version
from .commands import options
from .commands.dataset import dataset
from .commands.interpolate import interpolate
from .commands.models import health, models, show
from .commands.sample import sample
from .commands.stopping import INTERRUPTED, PROGRAM, CommandStopped
from .errors import GanError, InvalidArgumentError, InvalidRequestError, NotFoundError, one_line

# The base of all of Typer's complaints about a command line; Typer has no public name for it.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: Final = (sample, interpolate, dataset, models, show, health)
for _command in _COMMANDS:
    app.command()(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(PROGRAM, version())
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    url: options.Url = None,
    api_key: options.Key = None,
    show_version: Annotated[
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
      gan-client interpolate --seeds 1,5,9 --out way.gif
      gan-client dataset --out digits --n 100000

    The service's URL and API key are taken from GAN_URL and GAN_API_KEY unless --url and --api-key are given, before
    or after the command. A terminal shows pictures, unless NO_COLOR is set; --show says how.

    \b
    Exit codes:
      0    done
      1    failed: the service or the disk; a line on stderr says what to do
      2    wrong arguments, found here or by the service
      130  Ctrl-C (143 when terminated): no half-written file is left behind
    """
    del show_version  # its callback has done all
    given = {name: value for name, value in (("url", url), ("api_key", api_key)) if value is not None}
    context.default_map = {command.__name__: given for command in _COMMANDS}


def _fail(message: str, code: int) -> int:
    print(f"{PROGRAM}: {one_line(message, 1000)}", file=sys.stderr)
    return code


def run(argv: Sequence[str]) -> int:
    """Run the command line `argv` (without the program's name); the exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before the start, as some daemons do
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A class name may not exist in the terminal's encoding.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=list(argv) or ["--help"], prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        command = error.ctx.command_path if error.ctx else PROGRAM
        return _fail(f"{error.format_message()}{_where_options_go(error)} (see `{command} --help`)", 2)
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
    except CommandStopped as stopped:
        return _fail(str(stopped), stopped.code)
    except KeyboardInterrupt:  # while Typer puts the commands together
        code = INTERRUPTED
    if code == INTERRUPTED:  # what Typer makes of Ctrl-C
        return _fail("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _where_options_go(error: typer.BadParameter) -> str:
    """Advice on an option that stands before the command."""
    is_before = hasattr(error, "option_name") and error.ctx is not None and error.ctx.parent is None
    return f"; its options follow the command: `{PROGRAM} sample --n 64`" if is_before else ""


def _is_wrong_argument(error: GanError) -> bool:
    """Whether the service refused what the user asked for, not how it was sent."""
    unknown_model = isinstance(error, NotFoundError) and error.code == "unknown_model"
    return isinstance(error, InvalidRequestError) or unknown_model
