"""From what a pickle builds to a tree of dicts, lists, plain values and tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gan_export.refusal import IntakeError
from gan_export.untrusted.messages import shown

from .limits import Limits
from .symbols import TensorRef, Unusable, size_text


class Tree:
    """The plain tree of an evaluated pickle, and its tensors in the order in which they first appear.

    Raises:
        IntakeError: a value that is neither plain nor a tensor, too much of it, or no dict or list at all; named by its
            key.
    """

    def __init__(self, value: object, limits: Limits) -> None:
        self._limits = limits
        self._values = 0
        self._seen: dict[int, TensorRef] = {}
        if not isinstance(value, dict | list | tuple):
            raise IntakeError(
                f"holds {_kind(value)}, not a state dict; save the weights alone: torch.save(model.state_dict(), ...)"
            )
        self.content: dict[str, Any] | list[Any] = self._visit(value, ())

    @property
    def tensors(self) -> list[TensorRef]:
        """Every tensor once."""
        return list(self._seen.values())

    def check_size(self, file_bytes: int) -> None:
        """Raises IntakeError if the tensors take more than the limits, or than such a file can hold."""
        total = sum(tensor.nbytes for tensor in self._seen.values())
        allowed = min(self._limits.max_tensor_bytes, self._limits.max_growth * file_bytes)
        if total > allowed:
            raise IntakeError(
                f"a file of {size_text(file_bytes)} declares tensors of {size_text(total)}, "
                f"and {size_text(allowed)} are allowed; save the generator's weights alone, contiguous"
            )

    def _visit(self, value: object, path: tuple[str, ...]) -> Any:
        self._values += 1
        if self._values > self._limits.max_values:
            raise IntakeError(f"holds more than {self._limits.max_values:,} values; save the generator's weights alone")
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, TensorRef):
            return self._seen.setdefault(id(value), value)
        if len(path) > self._limits.max_depth:
            raise IntakeError(f"{_where(path)}: is nested more than {self._limits.max_depth} deep, or holds itself")
        if isinstance(value, dict):
            return self._dict(value, path)
        if isinstance(value, list | tuple):
            return [self._visit(item, (*path, str(i))) for i, item in enumerate(value)]
        if isinstance(value, Unusable):
            raise IntakeError(f"{_where(path)}: {value.reason}")
        raise IntakeError(f"{_where(path)}: is {_kind(value)}, and only tensors and plain values can be read")

    def _dict(self, value: Mapping[Any, Any], path: tuple[str, ...]) -> dict[str, Any]:
        content = {str(key): self._visit(item, (*path, str(key))) for key, item in value.items()}
        if len(content) != len(value):
            raise IntakeError(f"{_where(path)}: has the same key as a number and as text")
        return content


def read_tree(value: object, unusable: Sequence[Unusable], file_bytes: int, limits: Limits) -> Tree:
    """The tree of what a pickle builds; raises IntakeError for what can't be read and for tensors too large."""
    tree = Tree(value, limits)
    if unusable:  # the tree does not have it, and torch would still build it
        raise IntakeError(f"a tensor that no key leads to {unusable[0].reason}")
    tree.check_size(file_bytes)
    return tree


def _where(path: tuple[str, ...]) -> str:
    return shown(".".join(path) or "the file")


def _kind(value: object) -> str:
    return "a tensor" if isinstance(value, TensorRef) else f"a value of type {type(value).__name__}"
