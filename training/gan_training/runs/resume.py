"""Going on with a run: which settings may be other ones, and whether the data are still the same."""

from __future__ import annotations

import math

import torch

from gan_training.checkpoint import Checkpoint
from gan_training.config import ConfigError, TrainConfig
from gan_training.data import ImageData
from gan_training.device import choose_bf16, choose_device
from gan_training.loop import MissingMomentsError
from gan_training.words import counted

from .window import is_time_up

_NEW_RUN = "start a new run with another --out"


def changed_config(checkpoint: Checkpoint, changes: dict[str, object]) -> TrainConfig:
    """The run's settings with `changes` on top: TrainConfig.RUNTIME ones, those that come to the same, and `data`,
    which `check_data` has to judge.

    Raises:
        ConfigError: another setting is changed, two don't go together, the run is beyond the `steps` that are asked
            for, or its minutes are used up.
    """
    if "precision" in changes:
        checkpoint.config.with_changes({"precision": changes["precision"]})  # refuses what is none
    stored, may_change = checkpoint.config.to_dict(), TrainConfig.RUNTIME | {"data"}
    others = [name for name, value in changes.items() if name not in may_change and stored[name] != value]
    device = str(changes.get("device", checkpoint.config.device))
    same = {name for name in others if _is_same(name, changes[name], checkpoint, device)}
    different = [f"{name} (was {_was(name, checkpoint)}, now {changes[name]})" for name in others if name not in same]
    if different:
        raise ConfigError(f"--resume can't change {', '.join(different)}; {_NEW_RUN}")
    may_change |= same & {"device", "precision"}  # as the run was found to have them, from now on by name
    config = checkpoint.config.with_changes({name: value for name, value in changes.items() if name in may_change})
    if changes.keys() & {"stop_on_collapse", "watch_every"}:
        config.refuse_blind_stop()
    if "steps" in changes and config.steps < checkpoint.step:
        raise ConfigError(
            f"steps is {config.steps}, and the run is at step {checkpoint.step} already; it counts all steps of the "
            f"run: give more than {checkpoint.step}"
        )
    asked = [name for name in ("steps", "minutes") if name in changes and changes[name] != stored[name]]
    if asked and checkpoint.step < config.steps and is_time_up(config, checkpoint.seconds):
        raise ConfigError(f"{_time_up(config, checkpoint)}, or --set minutes=none")
    return config


def why_finished(config: TrainConfig, checkpoint: Checkpoint) -> str:
    """Why there is nothing to do for a run that goes on with `config`, and how there would be; empty if there is."""
    if checkpoint.step >= config.steps:
        return f"the run has done its {counted(config.steps, 'step')}; give --steps above {checkpoint.step} to go on"
    return f"{_time_up(config, checkpoint)}, to go on" if is_time_up(config, checkpoint.seconds) else ""


def _time_up(config: TrainConfig, checkpoint: Checkpoint) -> str:
    used = math.ceil(checkpoint.seconds / 6) / 10
    up = "minute is used up; it counts" if config.minutes == 1 else "minutes are used up; they count"
    return f"the run's {config.minutes:g} {up} all of the run: give --minutes above {used:g}"


def _is_same(name: str, value: object, checkpoint: Checkpoint, device: str) -> bool:
    """Whether a value is what the run's own, written otherwise, comes to: `auto` or nothing, and what was found.

    `device`: on which it is to go on.
    """
    spec, config = checkpoint.generator_spec, checkpoint.config
    if name in ("image_size", "channels"):
        return value == (spec.image_size if name == "image_size" else spec.channels)
    if name == "device":  # of several GPUs any; the run's own may not be there
        return choose_device(str(value)).type == _device_type(config.device)
    if name == "precision":
        now = choose_bf16(str(value), choose_device(device))
        was = checkpoint.precision
        return now == (choose_bf16(config.precision, choose_device(device)) if was is None else was == "bf16")
    return False


def _was(name: str, checkpoint: Checkpoint) -> str:
    """A setting of the run, and what `auto` came to."""
    value = str(checkpoint.config.to_dict()[name])
    is_found = name == "precision" and value == "auto" and checkpoint.precision is not None
    return f"{value}, {checkpoint.precision}" if is_found else value


def _device_type(name: str) -> str:
    return choose_device(name).type if name == "auto" else torch.device(name).type


def other_precision(now: str, checkpoint: Checkpoint) -> str:
    """What to tell where `auto` is fp32 or bf16 `now`, and was the other one; empty if it wasn't, or nobody knows."""
    was = checkpoint.precision
    if was in (None, now):
        return ""
    return (
        f"the run was trained in {was}, and goes on in {now}, as precision is auto; give --precision {was} to keep it"
    )


def other_measures(checkpoint: Checkpoint) -> str:
    """What to tell where an older version has measured what this one measures in another way; empty if none has."""
    measured = ("frechet_distance", "memorisation_ratio")
    if checkpoint.precision is not None or not any(name in line for line in checkpoint.history for name in measured):
        return ""
    return (
        f"the figures up to step {checkpoint.step:,} are an older version's, which measured frechet_distance and "
        "memorisation_ratio otherwise: they don't compare with later ones, and best.pt is chosen by both; compare it "
        "and ckpt.pt with gan-eval"
    )


def why_not_restored(error: Exception, checkpoint: Checkpoint) -> str:
    """What to tell of a run whose state the trainer has refused with `error`."""
    config = checkpoint.config
    is_idle = config.type == "wgan" and config.has_auxiliary and config.auxiliary_weight == 0
    if is_idle and isinstance(error, MissingMomentsError):
        return (
            "is an older version's, which kept no optimiser state of a classifier whose auxiliary_weight is 0, and "
            f"can't go on: {_NEW_RUN}; gan-eval and gan-export take it as it is"
        )
    return f"the checkpoint is damaged: {error!r}"


def check_data(data: ImageData, config: TrainConfig, checkpoint: Checkpoint) -> str:
    """What to tell of data whose content is not what the run began with; empty if all is well, or nobody knows.

    Args:
        data: that `config` names now.
        config: with which the run goes on.
        checkpoint: of the run. Older ones do not know their data's content.

    Raises:
        ConfigError: the data have another name, and are not known to be the same.
    """
    was, now, known = checkpoint.config.data, config.data, checkpoint.data_sha256
    if known is not None and data.digest() == known:
        return ""
    if was != now:
        why = "" if known is None else ", which has other images or labels"
        raise ConfigError(f"--resume can't change data (was {was}, now {now}{why}); {_NEW_RUN}")
    if known is None:
        return ""
    return f"the images or labels of {now} are no longer those that the run began with; it goes on with these"
