"""Spectral and weight norm, of `nn.utils` and of its `parametrizations`, multiplied into plain weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm

from gan_export.refusal import IntakeError

from .state import State, shown

_SPECTRAL: Final = ("SpectralNorm", "_SpectralNorm")  # classes of torch.nn.utils and of its parametrizations
SINGULAR: Final = 0.9  # cosine from which u and v belong to a matrix; a training step changes it by less than 0.05


def fold_norms(state: Mapping[str, Tensor], module: nn.Module | None = None) -> State:
    """Spectral and weight norm, of `nn.utils` and of its `parametrizations`, multiplied into the plain weight.

    Args:
        state: by names of the module, or with those of wrappers before them.
        module: that they are for. A spectral norm runs along the first dimension of a weight, and along the second of
            transposed convolutions; where both are of one size, `u` and `v` tell it, and those that were never trained
            leave it to the module.

    Raises:
        IntakeError: a norm of another kind, or one that can't be told from its tensors.
    """
    folded = dict(state)
    parts_of_module = None if module is None else dict(module.named_modules(remove_duplicate=False))
    for key in state:
        for head, tails, fold in _NORMS:
            stem = key.removesuffix(head)
            at, _, name = stem.rpartition("parametrizations.")
            parts = [key, *(f"{stem}{tail}" for tail in tails)]
            if stem != key and name.rpartition(".")[2].startswith("weight") and set(parts) <= folded.keys():
                weight, tensors = at + name, [folded.pop(part) for part in parts]
                usual = None if parts_of_module is None else _usual_dim(weight, parts_of_module)
                folded[weight] = _multiplied(weight, fold, tensors, usual)
    left = [key for key in folded if "parametrizations" in key.split(".")]
    left += [key for key in folded if key.endswith("_orig") and f"{key.removesuffix('_orig')}_u" in folded]
    if left:
        raise IntakeError(f"{shown(left[0])} belongs to a norm that can't be folded; save the net without it")
    return folded


def _usual_dim(weight: str, parts: Mapping[str, nn.Module]) -> int:
    """Along which a spectral norm runs: as that of the class does, or as it does if nobody says otherwise.

    The weight's name may have others before that of the module.
    """
    path, _, name = weight.rpartition(".")
    while path and path not in parts:
        path = path.partition(".")[2]
    part = parts[path]
    norms: list[object] = [hook for hook in part._forward_pre_hooks.values() if getattr(hook, "name", "") == name]
    if parametrize.is_parametrized(part, name):
        norms += getattr(part.parametrizations, name)
    own = (int(norm.dim) for norm in norms if type(norm).__name__ in _SPECTRAL)  # type: ignore[attr-defined]
    return next(own, int(isinstance(part, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)))


def _multiplied(weight: str, fold: Callable[..., Tensor], tensors: Sequence[Tensor], usual_dim: int | None) -> Tensor:
    """The plain weight that a norm's tensors make; `usual_dim`: of a spectral norm, if that is known."""
    if not all(tensor.is_floating_point() for tensor in tensors):
        raise IntakeError(f"{shown(weight)}: the tensors of its norm are not floats")
    folded = fold(shown(weight), usual_dim, *(tensor.float() for tensor in tensors))
    if not folded.isfinite().all():
        raise IntakeError(f"{shown(weight)}: multiplying its norm in gives NaN or infinite values")
    return folded


def without_norms(module: nn.Module) -> nn.Module:
    """The module itself, the spectral and weight norms of `nn.utils` and its `parametrizations` made plain weights."""
    for part in list(module.modules()):
        for hook in list(part._forward_pre_hooks.values()):
            kind, name = type(hook).__name__, getattr(hook, "name", "")
            if kind in _REMOVALS:
                _REMOVALS[kind](part, name)
        for key, hook in list(part._load_state_dict_pre_hooks.items()):
            # remove_spectral_norm does not find it (torch 2.13), and it would go on asking for weight_orig.
            if type(getattr(hook, "hook", hook)).__name__ == "SpectralNormLoadStateDictPreHook":
                del part._load_state_dict_pre_hooks[key]
        parametrized = dict(cast(nn.ModuleDict, part.parametrizations)) if parametrize.is_parametrized(part) else {}
        for name, steps in parametrized.items():
            if {type(step).__name__ for step in cast(nn.ModuleList, steps)} <= _PARAMETRIZATIONS:
                parametrize.remove_parametrizations(part, name)
    return module


def _spectral(name: str, usual_dim: int | None, weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """weight / sigma with sigma = u . (W v), W being the weight as a matrix (Miyato et al., 2018, arXiv:1802.05957)."""
    dims = range(2 if weight.ndim > 2 else 1) if weight.ndim > 1 else ()
    matrices = {dim: weight.transpose(0, dim).flatten(1) for dim in dims}
    matrices = {dim: matrix for dim, matrix in matrices.items() if matrix.shape == (*u.shape, *v.shape)}
    if not matrices:
        raise IntakeError(
            f"{name}: its spectral norm has vectors of {u.numel()} and {v.numel()} values, which are not its sizes"
        )
    agreements = {dim: _agreement(matrix, u, v) for dim, matrix in matrices.items()}
    best = max(agreements, key=agreements.__getitem__)
    if len(matrices) > 1 and (agreements[best] < SINGULAR or min(agreements.values()) > 0.8 * agreements[best]):
        if usual_dim is None:
            raise IntakeError(
                f"{name}: its spectral norm may run along either dimension; save the net without the norm"
            )
        best = usual_dim
    return weight / torch.dot(u, torch.mv(matrices[best], v))


def _agreement(matrix: Tensor, u: Tensor, v: Tensor) -> float:
    """How well u and v are singular vectors of the matrix: 1 for exact ones, near 0 for a matrix that isn't theirs."""
    left = torch.cosine_similarity(torch.mv(matrix, v), u, dim=0)
    right = torch.cosine_similarity(torch.mv(matrix.T, u), v, dim=0)
    return float(torch.minimum(left, right))


def _weight_norm(name: str, _: int | None, g: Tensor, v: Tensor) -> Tensor:
    """g * v / |v|, the norm over all dimensions but that of g (Salimans & Kingma, 2016, arXiv:1602.07868)."""
    kept = [dim for dim, size in enumerate(g.shape) if size > 1]
    alike = g.ndim == v.ndim > 1 and len(kept) <= 1 and all(g.shape[dim] == v.shape[dim] for dim in kept)
    if g.ndim and not alike:
        raise IntakeError(f"{name}: its weight norm has shape {tuple(g.shape)}, which does not fit {tuple(v.shape)}")
    norms: Tensor = torch.linalg.vector_norm(v, dim=[dim for dim in range(v.ndim) if dim not in kept], keepdim=True)
    return v * (g / norms)


_REMOVALS: Final[Mapping[str, Callable[[nn.Module, str], nn.Module]]] = {
    "SpectralNorm": remove_spectral_norm,
    "WeightNorm": remove_weight_norm,
}
_PARAMETRIZATIONS: Final = {"_SpectralNorm", "_WeightNorm"}
_NORMS: Final[Sequence[tuple[str, Sequence[str], Callable[..., Tensor]]]] = (
    ("_orig", ("_u", "_v"), _spectral),
    (".original", (".0._u", ".0._v"), _spectral),
    ("_g", ("_v",), _weight_norm),
    (".original0", (".original1",), _weight_norm),
)
