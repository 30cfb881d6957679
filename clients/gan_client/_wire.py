"""What all bodies of the wire contract have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A request: what it must not say is refused. A field's docstring is its description in the OpenAPI document."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


class Answer(BaseModel):
    """A response: a newer service may say more than this client knows."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Description(BaseModel):
    """A response whose unknown fields are kept: they are shown to people, and stand in `model_extra`."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)
