"""How far a forward comes before it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode


class _Counter(TorchFunctionMode):
    """Counts PyTorch's operations that finish."""

    done = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.done += 1
        return made


def operations_before(module: nn.Module, run: Callable[[], object]) -> int:
    """Operations of PyTorch that finish inside a module's forward before `run`, which calls it, fails."""
    counter = _Counter()

    def begin(*_: object) -> None:
        counter.done = 0  # what made the arguments does not count

    hook = module.register_forward_pre_hook(begin)
    try:
        with counter:
            run()
    except Exception:  # noqa: BLE001 - it failed before
        return counter.done
    finally:
        hook.remove()
    return counter.done
