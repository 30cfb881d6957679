"""What manifest.json and certificate.json have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A part of a document: no fields that are not known, and none that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def digest_of(content: Any) -> str:
    """sha256 of plain values, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def first_duplicate(names: Sequence[str]) -> str | None:
    """The first name that another one before it equals."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
