"""`--set name=value`: text from the command line, made into settings of the right type."""

from __future__ import annotations

from typing import Any

from gan_training.config import SETTING_TYPES, TYPE_WORDS, ConfigError, value_type
from gan_training.words import did_you_mean


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Turn `["r1_gamma=0.5", "upsample=nearest"]` into typed values; raises ConfigError naming what is wrong."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        name = name.strip().replace("-", "_")
        if not separator:
            raise ConfigError(f"--set {assignment!r} has no '='; write --set name=value")
        if name not in SETTING_TYPES or name in ("type", "data"):
            known = sorted(set(SETTING_TYPES) - {"type", "data"})
            meant = did_you_mean(name, known, f"known are {', '.join(known)}")
            raise ConfigError(f"--set {name}: there is no such setting{meant}")
        values[name] = _parse(name, text.strip(), SETTING_TYPES[name])
    return values


def _parse(name: str, text: str, hint: Any) -> Any:
    kind, is_optional = value_type(hint)
    if is_optional and text.lower() == "none":
        return None
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{name} is {text!r}; it must be true or false")
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise ConfigError(f"{name} is {text!r}; it must be {TYPE_WORDS[kind]}") from None
    return text
