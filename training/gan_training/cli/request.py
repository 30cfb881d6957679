"""What a call of gan-train asks for, and the run that it means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_training.config import GAN_TYPES, ConfigError, TrainConfig
from gan_training.parallel import Parallel
from gan_training.presets.load import load_preset
from gan_training.runs.observer import TellFn
from gan_training.runs.run import Run


@dataclass(frozen=True)
class Request:
    """Options of gan-train that say which run is meant; None where one was not given."""

    type: str | None
    data: str | None
    preset: str | None  # a name, or a TOML file
    out: Path | None
    changes: dict[str, Any]  # settings by name, on top of the preset's
    resume: bool
    force: bool
    dry_run: bool = False  # it is only looked at


def open_run(request: Request, parallel: Parallel, tell: TellFn) -> Run:
    """The run that was asked for: a fresh one, or the one in `out`.

    Args:
        request: what was asked for.
        parallel: the processes that train it together.
        tell: told what takes long, and (done, total).

    Raises:
        ConfigError: options that are missing, that contradict each other, or whose values no run can have.
        DataError, CheckpointError: the data, or the run to go on with, can't be read.
    """
    if request.resume and request.force:
        raise ConfigError("--resume goes on with a run and --force starts anew; leave one of them out")
    settings = load_preset(request.preset) if request.preset is not None else {}
    own_type = settings.pop("type", None)
    if own_type is not None and request.type not in (None, own_type):
        raise ConfigError(
            f"--type is {request.type}, but preset {request.preset} is one for {own_type}; leave one of them out"
        )
    gan_type = request.type or own_type
    if request.resume:
        return _resumed(request, gan_type, settings, parallel, tell)
    if gan_type is None:
        raise ConfigError(f"--type is missing; use one of {', '.join(GAN_TYPES)}, or a --preset")
    if request.data is None:
        raise ConfigError(
            "--data is missing; use digits, mnist, fashion-mnist, idx:DIR, folder:DIR, npz:FILE or hf:OWNER/NAME"
        )
    config = TrainConfig.for_type(gan_type, request.data, settings, **request.changes)
    out = request.out or Path("runs") / (Path(request.preset).stem if request.preset else config.type)
    return Run.fresh(config, out, force=request.force or request.dry_run, parallel=parallel, tell=tell)


def _resumed(request: Request, gan_type: str | None, preset: dict[str, Any], parallel: Parallel, tell: TellFn) -> Run:
    if request.out is None:
        raise ConfigError("--resume needs --out, the folder of the run to go on with")
    # How long and how chatty it is, the run knows itself.
    preset = {name: value for name, value in preset.items() if name not in TrainConfig.RUNTIME}
    same = {name: value for name, value in (("type", gan_type), ("data", request.data)) if value is not None}
    return Run.resumed(request.out, same | preset | request.changes, parallel, tell)
