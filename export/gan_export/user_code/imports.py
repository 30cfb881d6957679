"""A user's own file and its neighbours, imported as if the file were run from its folder. This runs their Python."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch

from .errors import PACKAGE, exit_is_raised, one_line_errors

_INIT: Final = "__init__.py"


class _Neighbours:
    """Finds top-level modules in the user's folders that are not the standard library's; in those of `last`, what is
    nowhere else."""

    def __init__(self, folders: Sequence[Path], last: Sequence[Path]) -> None:
        self._folders, self._last = [str(folder) for folder in folders], [str(folder) for folder in last]

    def find_spec(self, name: str, path: Sequence[str] | None = None, _: ModuleType | None = None) -> ModuleSpec | None:
        if path is not None or name in sys.stdlib_module_names:
            return None
        found = PathFinder.find_spec(name, self._folders)
        # Any folder is a package to Python: an installed one of that name comes first.
        if found is None or found.loader is None:
            if _is_installed(name):
                return None
            found = found or PathFinder.find_spec(name, self._last)
        if found is None:
            return None
        if found.submodule_search_locations is not None:
            # A folder's are looked for anew whenever Python's own path changes, and only there.
            found.submodule_search_locations = list(found.submodule_search_locations)
        found.loader_state = PACKAGE
        return found


def _is_installed(name: str) -> bool:
    """Whether Python has a module or package of that name, and not just a folder."""
    found = PathFinder.find_spec(name)
    return found is not None and found.loader is not None


class _Holder(ModuleType):
    """A package of the user's, whose own file is run when something of it is asked for that no file beside it is."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.__path__ = [str(folder)]
        self._is_new = True

    def __getattr__(self, name: str) -> Any:
        init = Path(self.__path__[0], _INIT)
        is_file = PathFinder.find_spec(f"{self.__name__}.{name}", self.__path__) is not None
        if self._is_new and not name.startswith("__") and not is_file and init.is_file():
            self._is_new = False
            self._run(init, name)
            return getattr(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def _run(self, init: Path, wanted: str) -> None:
        spec = importlib.util.spec_from_file_location(self.__name__, init, submodule_search_locations=[*self.__path__])
        assert spec is not None
        assert spec.loader is not None
        self.__spec__, self.__package__, self.__file__ = spec, self.__name__, str(init)
        try:
            spec.loader.exec_module(self)
        except ImportError:  # often as it imports the very file that is being imported
            if wanted not in vars(self):
                raise


@contextlib.contextmanager
def as_script(path: Path) -> Iterator[None]:
    """The world in which the user's code runs; afterwards all is as before, but for the modules it imported, and that
    more of them are found beside it."""
    arguments, bytecode, search, directory = sys.argv, sys.dont_write_bytecode, list(sys.path), Path.cwd()
    # The last: for `from models.layers import X`, as a script in the working folder would find it.
    finder = _Neighbours([path.parent, _packages(path)[0]], [directory] if path.is_relative_to(directory) else [])
    sys.argv, sys.dont_write_bytecode = [str(path)], True
    sys.meta_path[:] = [finder, *(one for one in sys.meta_path if not isinstance(one, _Neighbours))]
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings(), same_defaults(), exit_is_raised():
            warnings.simplefilter("ignore")  # of torch, to the author of the file
            yield
    finally:
        # What forward imports when it is called is found beside its file too, after all else.
        sys.meta_path[:] = [*(one for one in sys.meta_path if one is not finder), finder]
        sys.argv, sys.dont_write_bytecode, sys.path[:] = arguments, bytecode, search
        os.chdir(directory)  # a file that goes to its own folder does not take ours with it


@contextlib.contextmanager
def same_defaults() -> Iterator[None]:
    """Set back afterwards what torch.set_default_device and torch.set_default_dtype changed."""
    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            # Not the CPU by its name: that would leave a mode that torch asks about every tensor that is made.
            torch.set_default_device(None if device == torch.device("cpu") else device)


def import_file(path: Path) -> ModuleType:
    """The file under a private name, in private packages that mirror its folders, so that relative imports work.

    What an earlier file imported from its folders is forgotten: another model's `ops` must not be taken for this one's.
    Where this one can't be imported, that is known again.

    Raises:
        IntakeError: whatever the user's code raises.
    """
    forgotten = _forget()
    try:
        with one_line_errors(f"{path.name} can't be imported"), as_script(path):
            return _import(path)
    except BaseException:
        _forget()
        sys.modules.update(forgotten)
        raise


def _forget() -> dict[str, ModuleType]:
    """Take out of Python's modules, and return, what was imported from a user's folders."""
    states = {name: getattr(getattr(one, "__spec__", None), "loader_state", None) for name, one in sys.modules.items()}
    heads = {PACKAGE} | {name.partition(".")[0] for name, state in states.items() if state == PACKAGE}
    return {name: sys.modules.pop(name) for name in states if name.partition(".")[0] in heads}


def _packages(path: Path) -> list[Path]:
    """The folder that holds the file's outermost package, that package, and so on to the file's own folder."""
    folders = [path.parent]
    while (folders[0] / _INIT).is_file():
        folders.insert(0, folders[0].parent)
    return folders


def _import(path: Path) -> ModuleType:
    package = PACKAGE
    folders = _packages(path)
    for place in folders:
        package = package if place is folders[0] else f"{package}.{place.name}"
        sys.modules[package] = _Holder(package, place)
    full = f"{package}.{path.stem}"
    spec = importlib.util.spec_from_file_location(full, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    return module
