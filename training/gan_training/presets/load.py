"""Presets: measured settings for a GAN type and an image size, as TOML files that hold only what differs."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

from gan_training.config import GAN_TYPES, ConfigError, TrainConfig
from gan_training.words import did_you_mean

_FOLDER = resources.files(__package__)


def preset_names() -> list[str]:
    """The presets in the box."""
    return sorted(entry.name.removesuffix(".toml") for entry in _FOLDER.iterdir() if entry.name.endswith(".toml"))


def load_preset(name: str) -> dict[str, Any]:
    """Settings of a preset in the box, or of a TOML file; `type` is one of them, `data` never.

    Raises:
        ConfigError: no such preset, or a file that is not TOML or holds unknown settings.
    """
    if name.endswith(".toml"):
        text = _read(Path(name))
    elif name in preset_names():
        text = (_FOLDER / f"{name}.toml").read_text("utf-8")
    elif _is_file(Path(name)):
        raise ConfigError(f"preset {name!r} is a file, but not a .toml one; settings are read from TOML alone")
    else:
        known = preset_names()
        meant = did_you_mean(name, known, f"use one of {', '.join(known)}, or a .toml file")
        raise ConfigError(f"preset {name!r} is unknown{meant}")
    try:
        values = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and a number of more digits than Python reads
        raise ConfigError(f"preset {name}: is not TOML: {error}") from error
    unknown = sorted(set(values) - {field.name for field in fields(TrainConfig)} | values.keys() & {"data"})
    if unknown:
        raise ConfigError(
            f"preset {name}: {unknown[0]!r} is not a setting of a preset; `gan-train --dry-run` lists them"
        )
    if "type" not in values:
        raise ConfigError(f"preset {name}: type is missing; use one of {', '.join(GAN_TYPES)}")
    try:
        TrainConfig.for_type(values["type"], "", {name: value for name, value in values.items() if name != "type"})
    except ConfigError as error:
        raise ConfigError(f"preset {name}: {error}") from error
    return values


def _is_file(path: Path) -> bool:
    with suppress(OSError):  # a name longer than names may be
        return path.is_file()
    return False


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"preset {path}: no such file; in the box are {', '.join(preset_names())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"preset {path}: can't be read: {error}") from error
