"""A module of its author's own code with a file's weights in it, ready to be called."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gan_export.calling.adapter import user_code
from gan_export.calling.missing_values import has_no_device, refuse_freed
from gan_export.intake import check_finite
from gan_export.refusal import IntakeError
from gan_export.user_code.errors import one_line_errors
from gan_export.user_code.module import Constructor, signature_of
from gan_export.weights.loading import MisfitError, load_exactly
from gan_export.weights.norms import fold_norms, without_norms
from gan_export.weights.state import State, is_extra, shown, tensors_of, unwrap

_OVERRIDDEN: Final = "leave out what overrides it in the class"


def loaded_module(
    constructor: Constructor, weights_of: Callable[[frozenset[str]], tuple[str, State]], seed: int
) -> tuple[str, nn.Module]:
    """Construct a module and load weights, of which nothing is missing or left over.

    Args:
        constructor: makes it.
        weights_of: the weights of a class with these names, and the path where they were.
        seed: of the random numbers with which it is made.

    Returns:
        That path, and the module in float32 and eval mode; nothing in it requires gradients.

    Raises:
        IntakeError: it can't be constructed, is none that weights can be loaded into, or the weights are not its.
    """
    module = constructor.make(seed)
    name = type(module).__name__
    _refuse_scripted(module, constructor.spec)
    _check_parameters(module)
    # What these return is not used: one of the author's own may return nothing.
    with one_line_errors(f"{name} can't be set to float32"), user_code():
        module.float()
    path, state = weights_of(frozenset(module.state_dict()))
    with user_code():
        _load(module, state)
        loaded = tensors_of(module.state_dict())
    # A mask of attention is often -inf where nothing is to be seen.
    check_finite(loaded, may_be_infinite={name for name, _ in module.named_buffers(remove_duplicate=False)})
    with one_line_errors(f"{name} can't be set to eval mode"), user_code():
        module.eval()
        module.requires_grad_(False)
    return path, module


def _refuse_scripted(module: nn.Module, spec: str) -> None:
    """Raises IntakeError if it, or a part of it, is a scripted module."""
    path = next((path for path, part in module.named_modules() if isinstance(part, torch.jit.ScriptModule)), None)
    if path is not None:
        what = f"{type(module).__name__}.{path} is" if path else "gives"
        raise IntakeError(
            f"{spec}: {what} a scripted module, which no longer has its Python code; use its class itself, without "
            "torch.jit.script"
        )


def _check_parameters(module: nn.Module) -> None:
    """Raises IntakeError if they have no shape or no values, are sparse, or if `state_dict` does not give them by name.

    Expanded ones that weights are loaded into, one number for several places, become plain: PyTorch does not load into
    them. Others stay views of what they show.
    """
    name = type(module).__name__
    for key, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
        if is_lazy(tensor):
            raise IntakeError(
                f"{name} has lazy layers, whose width is known only after a first call (such as that of {shown(key)}): "
                "give the class layers of fixed widths"
            )
        if has_no_device(tensor):
            raise IntakeError(
                f"{shown(key)} of {name} is on the device 'meta', which holds no data: construct it on the CPU"
            )
        if tensor.layout != torch.strided:
            layout = str(tensor.layout).removeprefix("torch.")
            raise IntakeError(
                f"{shown(key)} of {name} has the layout {layout}, which ONNX does not have: make it dense (.to_dense())"
            )
        refuse_freed(tensor, f"{shown(key)} of {name}")
    with one_line_errors(f"{name}.state_dict() fails"), user_code():
        state: Any = module.state_dict()
    if not isinstance(state, Mapping):
        raise IntakeError(f"{name}.state_dict() gives {type(state).__name__}, not tensors by name: {_OVERRIDDEN}")
    for key, value in state.items():
        if not isinstance(key, str) or not (isinstance(value, Tensor) or is_extra(key)):
            kind = type(value).__name__
            raise IntakeError(
                f"{name}.state_dict() has {shown(str(key))}, a {kind}, not a tensor by name: {_OVERRIDDEN}"
            )
    for part in module.modules():
        saved = [buffer for key, buffer in part._buffers.items() if key not in part._non_persistent_buffers_set]
        for one in (*part._parameters.values(), *saved):
            if one is not None and _overlaps(one):
                one.data = one.data.clone()


def _load(module: nn.Module, state: State) -> None:
    """As they are, or with spectral and weight norm multiplied in where the module has none, or one of another kind."""
    plain: State = unwrap(state, module.state_dict().keys())
    try:
        load_exactly(module, plain)
    except MisfitError:
        folded = unwrap(fold_norms(state, module), without_norms(module).state_dict().keys())
        try:
            load_exactly(module, folded)
        except MisfitError as error:
            raise IntakeError(f"{error}; its arguments are given with --init: {signature_of(module)}") from error


def _overlaps(tensor: Tensor) -> bool:
    """Whether it is expanded: one number in its storage is at several of its places."""
    return any(size > 1 and step == 0 for size, step in zip(tensor.shape, tensor.stride(), strict=True))
