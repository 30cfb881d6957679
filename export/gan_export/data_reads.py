"""`tensor.data` in a forward that is traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch._subclasses import FakeTensor
from torch.export import ExportedProgram
from torch.overrides import TorchFunctionMode

_READ, _ASSIGN = Tensor.data.__get__, Tensor.data.__set__  # type: ignore[attr-defined]


class DataAsDetached(TorchFunctionMode):
    """`tensor.data` is `tensor.detach()`, which has the same values.

    While a module is traced its tensors hold no values, and `.data` would take that mark from them: the process would
    read where nothing is.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func == _READ:
            return args[0].detach()
        if func == _ASSIGN:
            raise RuntimeError("it assigns to the .data of a tensor: use a variable instead, as in y = y * 0.5")
        return func(*args, **(kwargs or {}))


def holds_valueless(program: ExportedProgram) -> bool:
    """Whether its constants include tensors without values, which torch.onnx would read where nothing is.

    `.data` leaves them where a module is traced by its byte code, which knows nothing of `DataAsDetached`.
    """
    return any(isinstance(constant, FakeTensor) for constant in program.constants.values())
