"""The audit that goes before any reading: what a file declares, found out from its bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from .archive import audit_archive
from .kinds import Format, find_format
from .legacy import audit_legacy
from .limits import Limits
from .safetensors_format import audit_safetensors
from .tree import Tree

_AUDITS: Final[dict[Format, Callable[[BinaryIO, Limits], Tree]]] = {
    "zip": audit_archive,
    "legacy": audit_legacy,
    "safetensors": audit_safetensors,
}


def audit(file: BinaryIO, path: Path, limits: Limits) -> tuple[Format, Tree]:
    """The format of an open file and what it declares; `path` is the name that the user gave.

    Raises:
        IntakeError: the reason why it is not read, without the path.
    """
    form = find_format(file, path)
    return form, _AUDITS[form](file, limits)
