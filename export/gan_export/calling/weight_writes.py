"""Forwards that write into their weights behind PyTorch's back: tracing such a module ends the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gan_export.refusal import IntakeError

_OPERATORS: Final = frozenset(
    {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__"}
)


def refuse_weight_writes(module: nn.Module, run: Callable[[], object]) -> None:
    """Look whether `run`, which calls the module, assigns to a weight's or a buffer's `.data`, or writes into it.

    Writing into a buffer itself, as averages do, can be traced. What `run` raises is told by others.

    Raises:
        IntakeError: it does; one line that names the weight.
    """
    weights = [*module.named_parameters(), *module.named_buffers()]
    before = [weight.data_ptr() for _, weight in weights]
    writes = _Writes([weight for _, weight in weights])
    try:
        with writes:
            run()
    except Exception:  # noqa: BLE001 - somebody else's forward may raise anything
        return
    for (name, weight), address in zip(weights, before, strict=True):
        if weight.data_ptr() != address or address in writes.addresses:
            raise IntakeError(
                f"forward changes {name}.data, which can't be traced: compute with a variable instead, as in "
                "w = self.weight * scale, or put what only training needs under `if self.training:`"
            )


class _Writes(TorchFunctionMode):
    """Collects where something is written in place that is neither one of the weights itself nor a view of one."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self._weights = {id(weight) for weight in weights}
        self.addresses: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if args and isinstance(args[0], Tensor) and _is_in_place(name):
            written = args[0]
            if id(written) not in self._weights and written._base is None and written.numel():
                self.addresses.add(written.data_ptr())
        return func(*args, **(kwargs or {}))


def _is_in_place(name: str) -> bool:
    """`clamp_`, `__setitem__`, `__imul__` and the like."""
    return name in _OPERATORS or (name.endswith("_") and not name.endswith("__"))
