"""A generator class in a user's own file: found, and constructed as often as it takes. This runs the user's Python."""

from __future__ import annotations

import argparse
import ast
import contextlib
import faulthandler
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from torch import nn

from gan_export.refusal import IntakeError

from .errors import describe_error, one_line_errors
from .imports import as_script, import_file
from .random_state import fingerprint, random_state

OPTIONS: Final = ("opt", "opts", "args", "config", "cfg", "options", "params", "hparams", "hps", "hp", "flags")
WORDS: Final = {"true": True, "false": False, "none": None, "null": None}  # as other languages write these values
EXAMPLE: Final = "path/model.py:Generator"


@dataclass(frozen=True)
class Constructor:
    """A class or function of a user's file that has been imported, and what it is called with.

    The file is imported as if it were run from its own folder: `sys.argv` holds only its name, `import ops` and
    `from .ops import *` find its neighbours, what it prints goes to stderr. Neighbours never stand in for the standard
    library. Code that the file runs at import, training included, is run: put it under `if __name__ == "__main__":`.
    """

    spec: str  # FILE.py:NAME
    init: Mapping[str, str]
    module: ModuleType
    draws: bool  # random numbers, as it is imported, or seeds them

    def make(self, seed: int = 0) -> nn.Module:
        """A module, made with one state of the random numbers.

        Raises:
            IntakeError: no such name, arguments that don't fit, or an exception of the user's code.
        """
        path, name = _split(self.spec)
        with as_script(path), random_state(seed):
            function = _find(self.module, name, path)
            arguments = _arguments(function, self.init, name)
            hint = _signature_hint(function, name)
            with one_line_errors(f"{name} can't be constructed", hint), _missing_options(arguments):
                made = function(**arguments)
        if not isinstance(made, nn.Module):
            raise IntakeError(
                f"{self.spec}: gives {type(made).__name__}, not a torch.nn.Module; {_choices(self.module)}"
            )
        return made

    def again(self) -> Constructor:
        """The same of a second import, with other random numbers; itself where the file can be imported only once, as
        what it registers under a name can't be registered twice.

        Raises:
            IntakeError: nor can it be told then whether its images depend on the random numbers of its import.
        """
        path, _ = _split(self.spec)
        try:
            with random_state(2):
                return replace(self, module=import_file(path))
        except IntakeError as error:
            if self.draws:
                raise IntakeError(
                    f"{path.name} draws or seeds random numbers when it is imported, and whether its images depend on "
                    f"them can't be determined, because a second import fails: {error}; put what a script does under "
                    '`if __name__ == "__main__":`'
                ) from error
            return self


def load_constructor(spec: str, init: Mapping[str, str]) -> Constructor:
    """Import one file, and what it imports itself.

    Args:
        spec: `FILE.py:NAME`; NAME is a class or a function that returns an nn.Module, dotted if it is nested.
        init: arguments by name, as text: numbers, quoted strings, tuples and lists are read as Python, true, false and
            none in any case, anything else is text. `opt.nz` sets the attribute nz of an `argparse.Namespace` given as
            `opt`.

    Raises:
        IntakeError: no such file, or an exception of the user's code.
    """
    path, _ = _split(spec)
    if not faulthandler.is_enabled():  # what ends the process, such as a library that it calls, is told with its line
        faulthandler.enable(file=2, all_threads=False)
    with random_state(1):
        before = fingerprint()
        module = import_file(path)
        return Constructor(spec, init, module, draws=fingerprint() != before)


def parse_value(text: str, *, is_text: bool = False) -> Any:
    """A Python literal, true, false, none or null in any case, or the text itself.

    With `is_text` (a parameter that is text by default, or says so), `none` and the like are text: they name something.
    """
    if text.lower() in WORDS and not is_text:
        return WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _split(spec: str) -> tuple[Path, str]:
    file, colon, name = spec.rpartition(":")
    if not colon or not name or not file.endswith(".py"):
        raise IntakeError(f"{spec!r}: write the file and the class, such as {EXAMPLE}")
    try:
        path = Path(file).expanduser().resolve()
        is_file = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # of a home that nobody has, of links in a circle
        raise IntakeError(f"{file!r}: can't be found: {error}; --module takes {EXAMPLE}") from error
    if not is_file:
        raise IntakeError(f"{file}: no such file; --module takes {EXAMPLE}")
    return path, name


def _find(module: ModuleType, name: str, path: Path) -> Callable[..., Any]:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise IntakeError(f"{path.name} has no {name}; {_choices(module)}")
    if isinstance(found, nn.Module):
        raise IntakeError(f"{path.name}: {name} is a finished module; give its class {type(found).__name__} instead")
    if not callable(found):
        raise IntakeError(
            f"{path.name}: {name} is a {type(found).__name__}, not a class or function; {_choices(module)}"
        )
    return found  # type: ignore[no-any-return]


def _choices(module: ModuleType) -> str:
    names = [
        name for name, value in vars(module).items() if _is_module_class(value) and value.__module__ == module.__name__
    ]
    return f"its module classes: {', '.join(sorted(names))}" if names else "it defines no torch.nn.Module class"


def _is_module_class(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, nn.Module)


def _arguments(factory: Callable[..., Any], init: Mapping[str, str], name: str) -> dict[str, Any]:
    """Values for the factory's parameters; checked by name before anything is called."""
    values: dict[str, Any] = {}
    parameters = _parameters(factory)
    for key, text in init.items():
        parameter, dot, attribute = key.partition(".")
        if not dot:
            values[key] = parse_value(text, is_text=key in parameters and _is_text(parameters[key]))
            continue
        namespace = values.setdefault(parameter, argparse.Namespace())
        if not isinstance(namespace, argparse.Namespace):
            raise IntakeError(f"--init {key}={text}: {parameter} already has a value")
        setattr(namespace, attribute, parse_value(text))
    signature = _signature_hint(factory, name)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = sorted(set(values) - set(parameters)) if not open_ended else []
    if unknown:
        raise IntakeError(f"--init {unknown[0]}: no such argument; {signature}")
    by_place = [one.name for one in parameters.values() if one.kind is one.POSITIONAL_ONLY]
    if by_place:
        raise IntakeError(f"{name} takes {by_place[0]} only by position, which --init can't give; {signature}")
    missing = [
        one.name
        for one in parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) and one.name not in values
    ]
    if missing:
        way = f"{missing[0]}.NAME=VALUE for each option in it" if missing[0] in OPTIONS else f"{missing[0]}=VALUE"
        raise IntakeError(f"{name} needs {', '.join(missing)}: give --init {way}; {signature}")
    return values


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Those of its signature; where it has none that Python could tell, it takes whatever it is given."""
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return inspect.signature(lambda **_: None).parameters


def _is_text(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.default, str) or parameter.annotation in (str, "str")


@contextlib.contextmanager
def _missing_options(arguments: Mapping[str, Any]) -> Iterator[None]:
    """Name the option that a namespace of options lacks."""
    try:
        yield
    except AttributeError as error:
        for name, value in arguments.items():
            if value is error.obj and isinstance(value, argparse.Namespace):
                raise IntakeError(f"{describe_error(error)}; give --init {name}.{error.name}=VALUE") from error
        raise


def signature_of(module: nn.Module) -> str:
    """How a module is constructed, for a message."""
    return _signature_hint(type(module), type(module).__name__)


def _signature_hint(factory: Callable[..., Any], name: str) -> str:
    """The signature with its defaults, without annotations, on one line."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return ""
    bare = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    text = " ".join(str(inspect.Signature(bare)).split())
    return f"its signature is {name}{text}"
