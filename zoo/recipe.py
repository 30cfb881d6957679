"""recipes.toml, read and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gan_training.cli.assignments import parse_assignments
from gan_training.config import ConfigError, TrainConfig
from gan_training.presets.load import load_preset


class BuildError(RuntimeError):
    """What ends the build; the message is one line."""


@dataclass(frozen=True)
class Data:
    """A data set."""

    source: str  # of --data
    what: str
    licence: str
    test: str | None = None  # of --test-data; without one a tenth of the training images is held out


@dataclass(frozen=True)
class Recipe:
    """How an artifact is made."""

    name: str
    preset: str
    data: Data
    images: int  # to be evaluated, of each variant
    settings: tuple[str, ...] = ()  # NAME=VALUE, on top of the preset
    checkpoint: str = "ckpt.pt"  # or best.pt
    variants: str = "fp32,int8"  # of gan-export
    faults: tuple[str, ...] = ()  # sentences: what a person saw

    def config(self) -> TrainConfig:
        """The run's whole configuration; raises ConfigError if there is none like that."""
        preset = load_preset(self.preset)
        kind = preset.pop("type")
        return TrainConfig.for_type(kind, self.data.source, preset, **parse_assignments(list(self.settings)))

    def training_command(self, run: Path) -> list[str]:
        """gan-train and its arguments."""
        command = ["gan-train", "--preset", self.preset, "--data", self.data.source, "--out", str(run)]
        return command + [part for setting in self.settings for part in ("--set", setting)]

    def export_command(self, weights: Path) -> list[str]:
        """gan-export and its arguments."""
        return ["gan-export", str(weights), "--name", self.name, "--variants", self.variants]


def read_recipes(path: Path, only: Sequence[str]) -> list[Recipe]:
    """The recipes of a file, in its order, or those that `only` names.

    Raises:
        BuildError: no such file, nothing of that name, or a recipe that can't be meant.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BuildError(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise BuildError(f"{path}: is not TOML: {error}") from error
    known: dict[str, Any] = content.get("artifact", {})
    unknown = [name for name in only if name not in known]
    if unknown:
        raise BuildError(f"{unknown[0]!r} is not an artifact of {path}; use one of {', '.join(known)}")
    try:
        data = {name: _made(Data, given) for name, given in content["data"].items()}
        recipes = [
            _made(Recipe, {"name": name, "images": content["images"], **given, "data": data[given["data"]]})
            for name, given in known.items()
            if name in (only or known)
        ]
        for recipe in recipes:
            recipe.config()
    except (KeyError, TypeError) as error:
        raise BuildError(f"{path}: a recipe can't be read: {error}") from error
    except ConfigError as error:
        raise BuildError(f"{path}: {error}") from error
    return recipes


def _made(kind: type[Any], given: dict[str, Any]) -> Any:
    """Lists as tuples; TypeError on names that `kind` doesn't have or lacks."""
    unknown = given.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise TypeError(f"{sorted(unknown)[0]!r} is unknown")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
