"""The storages that a pickle declares by its persistent ids."""

from __future__ import annotations

from typing import Any

from .calls import STORAGES
from .symbols import MAX_KEY, Global, MalformedError, Storage, is_count


class Storages:
    """Every storage of a file, each declared once or always alike.

    Args:
        legacy: whether ids have a sixth part, which makes a view of a storage.
    """

    def __init__(self, *, legacy: bool) -> None:
        self._legacy = legacy
        self.by_key: dict[str, Storage] = {}

    def load(self, identity: tuple[Any, ...]) -> Storage:
        """The storage of a persistent id; raises MalformedError."""
        match identity:
            case ("storage", Global(name), str(key), str(), numel) if not self._legacy:
                return self._declare(name, key, numel)
            case ("storage", Global(name), str(key), str(), numel, None) if self._legacy:
                return self._declare(name, key, numel)
            case ("storage", Global(name), str(key), str(), numel, (str(view), offset, count)) if self._legacy:
                return _view(self._declare(name, key, numel), view, offset, count)
            case _:
                raise MalformedError("its pickle refers to something that is not a storage")

    def _declare(self, name: str, key: str, numel: object) -> Storage:
        dtype = STORAGES.get(name)
        if dtype is None or len(key) > MAX_KEY or type(numel) is not int or not is_count(numel):
            raise MalformedError("its pickle declares a storage without a type or size")
        storage = self.by_key.setdefault(key, Storage(key, dtype, numel))
        if (storage.dtype, storage.numel) != (dtype, numel):
            raise MalformedError("its pickle declares one storage with two sizes")
        return storage


def _view(root: Storage, key: str, offset: object, numel: object) -> Storage:
    if type(offset) is not int or type(numel) is not int or not is_count(offset) or not is_count(numel):
        raise MalformedError("its pickle declares a view without a size")
    if len(key) > MAX_KEY or offset + numel > root.numel:
        raise MalformedError("its pickle declares a view beyond its storage")
    view = root.views.setdefault(key, Storage(key, root.dtype, numel))
    if view.numel != numel:
        raise MalformedError("its pickle declares one view with two sizes")
    return view
