"""How every command of the training and export wings begins and ends: an exit code, and on failure one line on stderr.

What takes long to import is imported where it is needed, as Ctrl-C can't be told in one line before `run_module`.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import typer

INTERRUPTED = 130  # exit code of a command that Ctrl-C or SIGTERM stopped: 128 + SIGINT
CLEANING_SECONDS = 1.0  # after a signal, in which others are taken for the same one


class Stop:
    """Handler of SIGINT and SIGTERM: raises KeyboardInterrupt, so that what is half written goes.

    One that follows at once would hit just this cleaning up, and is ignored: `timeout` sends two.
    """

    def __init__(self) -> None:
        self._raised = -math.inf

    def __call__(self, _number: int, _frame: object) -> None:
        now = time.monotonic()
        if now - self._raised > CLEANING_SECONDS:
            self._raised = now
            raise KeyboardInterrupt


def _handle_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """SIGINT and SIGTERM, unless the parent process wants them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def need(*packages: str) -> None:
    """Find out before there is work to lose; raises ModuleNotFoundError for the first package that is not there."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def run_module(module: str, name: str, extra: str) -> None:
    """Import `module` and call its `main`; a missing package is one line that names the extra to install.

    SIGTERM stops it as Ctrl-C does: nothing is left behind. Not all packages are imported with the module: what not
    every call needs comes later. `--version` needs none.
    """
    if "--version" in sys.argv[1:]:
        print(name, _version())
        return

    def leave(_number: int, _frame: object) -> None:
        os.write(2, f"{name}: stopped\n".encode())
        os._exit(INTERRUPTED)

    _handle_signals(leave)  # an exception in the middle of a compiled module may abort; nothing is half written yet
    try:
        imported = importlib.import_module(module)
        _handle_signals(Stop())
        imported.main()
    except KeyboardInterrupt:
        _exit(name, "stopped", INTERRUPTED)
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # in the middle of a compiled module that came later
            _exit(name, "stopped", INTERRUPTED)
        if not isinstance(error, ModuleNotFoundError) or error.name is None or error.name.startswith("gan_"):
            raise
        _exit(name, f"needs the package {error.name!r}; install it with: pip install 'ganworks[{extra}]'", 1)


def run_command(
    app: typer.Typer,
    name: str,
    arguments: Sequence[str] | None,
    failures: Mapping[type[Exception], int],
    interrupted: str,
) -> NoReturn:
    """Run a Typer app and exit: 0, the code of the failure, 2 for bad arguments, 130 for Ctrl-C and SIGTERM.

    Args:
        failures: which exceptions are told to the user in one line, and with which exit code.
        interrupted: what to say then.
    """
    import typer

    try:
        code = app(args=arguments, prog_name=name, standalone_mode=False)
    except typer.TyperException as error:
        _exit(name, f"{_describe(error)} (see {name} --help)", error.exit_code)
    except tuple(failures) as error:
        _exit(name, str(error), next(code for kind, code in failures.items() if isinstance(error, kind)))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our stdout has gone (`| head`): nobody is left to tell.
        sys.stderr.close()
        sys.exit(1)
    if code == INTERRUPTED:  # Typer turns a KeyboardInterrupt inside the command into this code
        _exit(name, interrupted, INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ganworks")
    except PackageNotFoundError:
        return "(not installed: run from its sources)"


def _describe(error: typer.TyperException) -> str:
    from pydantic import ValidationError

    message = " ".join(error.format_message().split()).rstrip(".")
    message = message.replace(": Value error, ", ": ")  # pydantic's words for any message of Typer's
    cause = error.__cause__
    value = repr(cause.errors()[0]["input"]) if isinstance(cause, ValidationError) else ""
    return message if value in message else f"{message} (got {value})"


def _exit(name: str, message: str, code: int) -> NoReturn:
    # Names of files may have line ends in them, and codes for the terminal.
    line = "".join(one if one.isprintable() else repr(one)[1:-1] for one in message)
    print(f"{name}: {line}", file=sys.stderr)
    sys.exit(code)
