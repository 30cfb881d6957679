"""What the code of a user's own file raises, told in one line."""

from __future__ import annotations

import contextlib
import os
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from gan_export.refusal import IntakeError

PACKAGE: Final = "_ganworks_user"  # what the file's folder is to Python
MAX_SAID: Final = 300  # characters of an error of the user's code


@contextlib.contextmanager
def one_line_errors(what: str, hint: str = "") -> Iterator[None]:
    """Turn whatever the user's code raises into an IntakeError of one line, but for Ctrl-C.

    Args:
        what: could not be done.
        hint: stands behind the reason.
    """
    after = f"; {hint}" if hint else ""
    try:
        yield
    except SystemExit as error:
        raise IntakeError(
            f"{what}: it ends the program (exit code {error.code}) when it is imported or constructed; "
            'put what a script does under `if __name__ == "__main__":`'
        ) from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except IntakeError as error:
        raise IntakeError(f"{what}: {error}{after}") from error
    except BaseException as error:
        raise IntakeError(f"{what}: {describe_error(error)}{after}") from error


@contextlib.contextmanager
def exit_is_raised() -> Iterator[None]:
    """Meanwhile os._exit, which would end gan-export without a word, raises SystemExit as sys.exit does; but not in
    processes that the user's code forks."""
    end, process = os._exit, os.getpid()

    def leave(status: int) -> NoReturn:
        if os.getpid() != process:
            end(status)
        raise SystemExit(status)

    os._exit = leave
    try:
        yield
    finally:
        os._exit = end


def place_of(error: BaseException) -> str:
    """`file.py:line` of the user's own code, as near to the error as it goes; nothing if none was running."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    paths = sysconfig.get_paths()
    libraries = (str(Path(__file__).parents[1]), paths["stdlib"], paths["purelib"], paths["platlib"], "<")
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not file.startswith(libraries):
            found = f"{Path(file).name}:{line}"
    return found


def describe_error(error: BaseException) -> str:
    """Type, first line of the message, two if it ends with a colon, and place of an error of the user's code."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    lines = message.strip().splitlines() or ["no message"]
    said = " ".join(line.strip() for line in lines[: 1 + lines[0].endswith(":")])
    # The name of a package of the user's own is known to nobody else.
    said = said.replace(f"{PACKAGE}.", "").replace(PACKAGE, "its folder")
    said = said if len(said) <= MAX_SAID else f"{said[:MAX_SAID]}..."
    place = place_of(error)
    return f"{type(error).__name__}: {said}" + (f" ({place})" if place else "")
