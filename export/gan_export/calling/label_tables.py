"""Tables of a generator that labels are looked up in: whether they have more rows than there are classes."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from .adapter import Convention
from .convention_search import run_once

LOOKED_UP_IMAGES: Final = 5


def rows_left_over(module: nn.Module, convention: Convention) -> str | None:
    """A sentence about the first nn.Embedding that takes the labels and has more rows than there are classes.

    Args:
        module: in eval mode, weights loaded.
        convention: how it is called.
    """
    if convention.label != "ids":
        return None
    # In an order that nothing else has: what is looked up by position, say, is not a label.
    label = torch.arange(LOOKED_UP_IMAGES).flip(0) % convention.classes
    found: list[tuple[str, int]] = []

    def note(name: str, table: nn.Embedding, given: tuple[Any, ...]) -> None:
        ids = given[0] if given else None
        if isinstance(ids, Tensor) and torch.equal(ids.reshape(-1).long(), label):
            found.append((name, table.num_embeddings))

    tables = [(name, one) for name, one in module.named_modules() if isinstance(one, nn.Embedding)]
    hooks = [table.register_forward_pre_hook(partial(note, name)) for name, table in tables]
    try:
        run_once(module, convention, torch.zeros(LOOKED_UP_IMAGES, convention.latent_dim), label)
    except Exception:  # noqa: BLE001 - one that fails at some batches is for the others to tell
        return None
    finally:
        for hook in hooks:
            hook.remove()
    name, rows = next(((name, rows) for name, rows in found if rows > convention.classes), ("", 0))
    if not rows:
        return None
    return (
        f"Its table {name or 'of labels'} has {rows} rows, but --classes is {convention.classes}: the classes of the "
        "other rows can't be requested."
    )
