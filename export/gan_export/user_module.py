"""A generator class in a user's own file: imported, found and constructed. This runs the user's Python."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch
from torch import nn

from .refusal import IntakeError

PACKAGE: Final = "_ganworks_user"
OPTIONS: Final = ("opt", "opts", "args", "config", "cfg", "options", "params", "hparams", "hps", "hp", "flags")
MAX_SAID: Final = 300  # characters of an error of the user's code
EXAMPLE: Final = "path/model.py:Generator"


def load_module(spec: str, init: Mapping[str, str]) -> nn.Module:
    """Import one file, and what it imports itself, and construct a module from it.

    The file is imported as if it were run from its own folder: `sys.argv` holds only its name, `import ops` and
    `from .ops import *` find its neighbours, what it prints goes to stderr. Neighbours never stand in for the standard
    library. Code that the file runs at import, training included, is run: put it under `if __name__ == "__main__":`.

    Args:
        spec: `FILE.py:NAME`; NAME is a class or a function that returns an nn.Module, dotted if it is nested.
        init: arguments by name, as text: numbers, True, None, quoted strings, tuples and lists are read as Python,
            anything else is text. `opt.nz` sets the attribute nz of an `argparse.Namespace` given as `opt`.

    Raises:
        IntakeError: no such file or name, arguments that don't fit, or an exception of the user's code.
    """
    path, name = _split(spec)
    with _as_script(path), _same_default_device():
        with _same_default_device():  # the module is made on the CPU, whatever the file says to torch for training
            module = _import(path)
        factory = _find(module, name, path)
        arguments = _arguments(factory, init, name)
        with telling(f"{name} can't be constructed", hint=_signature_hint(factory, name)), _missing_options(arguments):
            made = factory(**arguments)
    if not isinstance(made, nn.Module):
        raise IntakeError(f"{spec}: gives {type(made).__name__}, not a torch.nn.Module; {_choices(module)}")
    return made


def parse_value(text: str) -> Any:
    """A Python literal, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _split(spec: str) -> tuple[Path, str]:
    file, colon, name = spec.rpartition(":")
    if not colon or not name or not file.endswith(".py"):
        raise IntakeError(f"{spec!r}: write the file and the class, such as {EXAMPLE}")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise IntakeError(f"{file}: no such file; --module takes {EXAMPLE}")
    return path, name


class _Neighbours:
    """Finds top-level modules beside the user's file, or above its package, that are not the standard library's."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [str(folder) for folder in folders]

    def find_spec(self, name: str, path: Sequence[str] | None = None, _: ModuleType | None = None) -> ModuleSpec | None:
        if path is not None or name in sys.stdlib_module_names:
            return None
        found = PathFinder.find_spec(name, self._folders)
        if found is None or (found.loader is None and PathFinder.find_spec(name) is not None):
            return None  # any folder is a package to Python: an installed one of that name comes first
        found.loader_state = PACKAGE
        return found


@contextlib.contextmanager
def _as_script(path: Path) -> Iterator[None]:
    """The world in which the user's code runs; afterwards all is as before, but for the modules it imported, and that
    more of them are found beside it."""
    for name, loaded in list(sys.modules.items()):
        # Another model's `ops` must not be taken for this one's.
        state = getattr(getattr(loaded, "__spec__", None), "loader_state", None)
        if state == PACKAGE or name.split(".")[0] == PACKAGE:
            del sys.modules[name]
    folders = [path.parent]
    while (folders[-1] / "__init__.py").is_file():
        folders.append(folders[-1].parent)
    finder = _Neighbours([folders[0], folders[-1]])
    arguments, bytecode, search, directory = sys.argv, sys.dont_write_bytecode, list(sys.path), Path.cwd()
    sys.argv, sys.dont_write_bytecode = [str(path)], True
    sys.meta_path.insert(0, finder)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, to the author of the file
            yield
    finally:
        # What forward imports when it is called is found beside its file too, after all else.
        sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, _Neighbours)]
        sys.meta_path.append(finder)
        sys.argv, sys.dont_write_bytecode, sys.path[:] = arguments, bytecode, search
        os.chdir(directory)  # a file that goes to its own folder does not take ours with it


@contextlib.contextmanager
def _same_default_device() -> Iterator[None]:
    """Set back afterwards what torch.set_default_device changed."""
    before = torch.get_default_device()
    try:
        yield
    finally:
        if torch.get_default_device() != before:
            # Not the CPU by its name: that would leave a mode that torch asks about every tensor that is made.
            torch.set_default_device(None if before == torch.device("cpu") else before)


def _import(path: Path) -> ModuleType:
    """The file under a private name, in private packages that mirror its folders, so that relative imports work."""
    package, folder = PACKAGE, path.parent
    folders = [folder]
    while (folder / "__init__.py").is_file():
        folder = folder.parent
        folders.insert(0, folder)
    for place in folders:
        package = package if place is folders[0] else f"{package}.{place.name}"
        holder = ModuleType(package)
        holder.__path__ = [str(place)]
        sys.modules[package] = holder
    full = f"{package}.{path.stem}"
    spec = importlib.util.spec_from_file_location(full, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    with telling(f"{path.name} can't be imported"):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def telling(what: str, hint: str = "") -> Iterator[None]:
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
            f"{what}: it ends the program (exit code {error.code}) as it is imported or constructed; "
            'put what a script does under `if __name__ == "__main__":`'
        ) from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except IntakeError as error:
        raise IntakeError(f"{what}: {error}{after}") from error
    except BaseException as error:
        raise IntakeError(f"{what}: {told(error)}{after}") from error


def place_of(error: BaseException) -> str:
    """`file.py:line` of the user's own code, as near to the error as it goes; nothing if none was running."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    paths = sysconfig.get_paths()
    libraries = (str(Path(__file__).parent), paths["stdlib"], paths["purelib"], paths["platlib"], "<")
    found, step = "", error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if not file.startswith(libraries):
            found = f"{Path(file).name}:{step.tb_lineno}"
        step = step.tb_next
    return found


def told(error: BaseException) -> str:
    """Type, first line of the message, two if it ends with a colon, and place of an error of the user's code."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    lines = message.strip().splitlines() or ["no message"]
    said = " ".join(line.strip() for line in lines[: 1 + lines[0].endswith(":")])
    said = said if len(said) <= MAX_SAID else f"{said[:MAX_SAID]}..."
    place = place_of(error)
    return f"{type(error).__name__}: {said}" + (f" ({place})" if place else "")


def _find(module: ModuleType, name: str, path: Path) -> Callable[..., Any]:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise IntakeError(f"{path.name} has no {name}; {_choices(module)}")
    if isinstance(found, nn.Module):
        raise IntakeError(f"{path.name}: {name} is a finished module; name its class {type(found).__name__} instead")
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
    for key, text in init.items():
        parameter, dot, attribute = key.partition(".")
        if not dot:
            values[key] = parse_value(text)
            continue
        namespace = values.setdefault(parameter, argparse.Namespace())
        if not isinstance(namespace, argparse.Namespace):
            raise IntakeError(f"--init {key}={text}: {parameter} was given a value of its own already")
        setattr(namespace, attribute, parse_value(text))
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return values
    signature = _signature_hint(factory, name)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = sorted(set(values) - set(parameters)) if not open_ended else []
    if unknown:
        raise IntakeError(f"--init {unknown[0]}: no such argument; {signature}")
    by_place = [one.name for one in parameters.values() if one.kind is one.POSITIONAL_ONLY]
    if by_place:
        raise IntakeError(f"{name} takes {by_place[0]} by position only, which --init can't give; {signature}")
    missing = [
        one.name
        for one in parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) and one.name not in values
    ]
    if missing:
        way = f"{missing[0]}.NAME=VALUE for each option in it" if missing[0] in OPTIONS else f"{missing[0]}=VALUE"
        raise IntakeError(f"{name} needs {', '.join(missing)}: give --init {way}; {signature}")
    return values


@contextlib.contextmanager
def _missing_options(arguments: Mapping[str, Any]) -> Iterator[None]:
    """Name the option that a namespace of options lacks."""
    try:
        yield
    except AttributeError as error:
        for name, value in arguments.items():
            if value is error.obj and isinstance(value, argparse.Namespace):
                raise IntakeError(f"{told(error)}; give --init {name}.{error.name}=VALUE") from error
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
