"""Tensors without the values that their shapes promise: PyTorch does not look, and reading them can end the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from gan_export.refusal import IntakeError


def has_no_device(tensor: Tensor) -> bool:
    """Whether it is one that has a shape and holds no data."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def refuse_freed(tensor: Tensor, what: str) -> None:
    """Raises IntakeError if the storage of a tensor is smaller than the tensor, as `resize_(0)` leaves it."""
    if tensor.is_nested or tensor.layout != torch.strided or has_no_device(tensor) or not tensor.numel():
        return
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    needed = (tensor.storage_offset() + last + 1) * tensor.element_size()
    held = tensor.untyped_storage().nbytes()
    if held < needed:
        raise IntakeError(
            f"{what} has the shape {tuple(tensor.shape)}, which takes {needed:,} bytes, and its storage holds "
            f"{held:,}: it was freed or cut short (untyped_storage().resize_); leave that out"
        )


def refuse_valueless(tensor: Tensor, what: str) -> None:
    """Raises IntakeError if a tensor that forward gives holds no data, or less than its shape takes."""
    if has_no_device(tensor):
        raise IntakeError(f"{what} is on the device 'meta', which holds no data: compute it on the CPU")
    refuse_freed(tensor, what)


class RefuseFreed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at every tensor that an operation is given."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for value in pytree.tree_iter((args, kwargs)):
            if isinstance(value, Tensor):
                refuse_freed(value, f"a tensor that forward gives to {func}")
        return func(*args, **(kwargs or {}))
