"""A training run in a directory: builds everything from a TrainConfig, and writes what the owner wants to see."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from .checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from .config import ConfigError, TrainConfig, build_loop_settings, build_objective, build_specs
from .data import DataError, ImageData, load_data
from .data.batches import EpochBatches
from .grid import FixedSamples, write_whole
from .interrupt import CtrlC
from .loop import Trainer
from .nets import Critic, Generator, draw_latents
from .objectives import Batch

CHECKPOINT = "ckpt.pt"
METRICS = "metrics.jsonl"
SAMPLES = "samples"


class TrainingDivergedError(RuntimeError):
    """A loss or a weight became NaN or infinite; the last good checkpoint is kept."""


class TrainingStoppedError(RuntimeError):
    """Ctrl-C: training stopped between two steps, and the checkpoint holds all of them."""


@dataclass(frozen=True)
class Progress:
    """What a run reports every `log_every` steps, averaged over them."""

    step: int
    steps: int
    seconds: float  # training time, over all resumes
    minutes_limit: float | None
    images_per_second: float  # real images seen by the critic
    losses: dict[str, float]

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1, by steps or by time, whichever ends it first."""
        by_time = self.seconds / 60 / self.minutes_limit if self.minutes_limit else 0.0
        return min(1.0, max(self.step / self.steps, by_time))

    @property
    def seconds_left(self) -> float:
        return self.seconds * (1 - self.share) / self.share if self.share else math.inf


class Run:
    """One run: `Run(config, out)` starts fresh, `Run.resumed(...)` goes on; `train()` works until the end."""

    def __init__(self, config: TrainConfig, out: Path, data: ImageData, checkpoint: Checkpoint | None = None) -> None:
        self.config, self.out, self.data = config, out, data
        if config.is_conditional and data.labels is None:
            raise DataError(f"{config.data}: has no labels, and {config.type} needs them; use --type dcgan or wgan")
        if config.is_conditional and data.classes < 2:
            raise DataError(
                f"{config.data}: has one class, and {config.type} needs 2 or more; use --type dcgan or wgan"
            )
        self.device = choose_device(config.device)
        self.bf16 = choose_bf16(config.precision, self.device)
        self.class_names = data.class_names if config.is_conditional else ()
        self.generator_spec, self.critic_spec = build_specs(config, data.image_size, data.channels, data.classes)
        self.data_batches = EpochBatches(data, config.batch_size, config.seed)
        torch.manual_seed(config.seed)
        self.trainer = Trainer(
            Generator(self.generator_spec),
            Critic(self.critic_spec),
            build_objective(config),
            self._batches(),
            lambda n, rng: draw_latents(n, config.latent_dim, config.latent, rng),
            build_loop_settings(config, bf16=self.bf16),
            seed=config.seed,
            device=self.device,
        )
        self.samples = FixedSamples(self.generator_spec, config.seed)
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0
        self.is_resumed = checkpoint is not None
        if checkpoint is not None:
            self._restore(checkpoint)

    @classmethod
    def fresh(cls, config: TrainConfig, out: Path, *, force: bool = False) -> Run:
        """A new run in `out`; refuses a folder that holds a checkpoint already unless `force`."""
        if (out / CHECKPOINT).exists() and not force:
            raise ConfigError(f"{out} already holds {CHECKPOINT}; give --resume, --force or another --out")
        return cls(config, out, load_data(config.data, config.image_size, config.channels))

    @classmethod
    def resumed(cls, out: Path, changes: dict[str, object]) -> Run:
        """Go on with the run in `out`. Only TrainConfig.RUNTIME settings may differ from the checkpoint's."""
        checkpoint = load_checkpoint(out / CHECKPOINT)
        stored = checkpoint.config.to_dict()
        different = [
            f"{name} (was {stored[name]}, now {value})"
            for name, value in changes.items()
            if name not in TrainConfig.RUNTIME and stored[name] != value
        ]
        if different:
            raise ConfigError(f"--resume can't change {', '.join(different)}; start a new run with another --out")
        config = checkpoint.config.with_changes({k: v for k, v in changes.items() if k in TrainConfig.RUNTIME})
        return cls(config, out, load_data(config.data, config.image_size, config.channels), checkpoint)

    def train(self, report: Callable[[Progress], None]) -> Path:
        """Train to the end, report every `log_every` steps; returns the checkpoint's path.

        Ctrl-C (in the main thread) stops after the step that is running; pressed twice, at once and unsaved.

        Raises:
            TrainingDivergedError: a loss or weight is no longer finite; the last good checkpoint stays.
            TrainingStoppedError: Ctrl-C; the checkpoint holds the last step.
            CheckpointError: the disk is full or the folder can't be written.
        """
        config = self.config
        with self._writing():
            (self.out / SAMPLES).mkdir(parents=True, exist_ok=True)
            if not self.is_resumed:
                self._remove_old_run()
            self._rewrite_metrics()
        began, before = time.monotonic(), self.seconds
        with CtrlC() as ctrl_c:
            for window in self._windows():
                losses, done, seconds = self._advance(window, ctrl_c)
                self.seconds = before + time.monotonic() - began
                rate = done * config.batch_size * self.trainer.objective.critic_steps / max(seconds, 1e-9)
                self._log({"step": self.step, "seconds": self.seconds, "images_per_second": rate, **losses})
                report(Progress(self.step, config.steps, self.seconds, config.minutes, rate, losses))
                if ctrl_c.pressed:
                    break
                self._write_if_due(config)
            self._save()
            if ctrl_c.pressed:
                kept = self.out / CHECKPOINT
                raise TrainingStoppedError(f"stopped at step {self.step:,}; {kept} holds it, go on with --resume")
            self._draw_samples()
        return self.out / CHECKPOINT

    @property
    def step(self) -> int:
        """Generator updates done."""
        return self.trainer.steps_done

    def _windows(self) -> Iterator[int]:
        """Numbers of steps to do before the next look at losses, files and clock."""
        config = self.config
        while self.step < config.steps and not (config.minutes and self.seconds >= config.minutes * 60):
            boundaries = (config.log_every, config.checkpoint_every, config.sample_every)
            yield min(config.steps - self.step, *(every - self.step % every for every in boundaries))

    def _advance(self, steps: int, ctrl_c: CtrlC) -> tuple[dict[str, float], int, float]:
        """Do `steps` steps, or fewer (but one) on Ctrl-C; returns mean losses and accuracies, steps done, seconds."""
        began, first = time.monotonic(), self.step
        sums: dict[str, torch.Tensor] = {}
        counts: dict[str, int] = {}
        for _ in range(steps):
            for name, value in self.trainer.step().items():
                sums[name] = sums[name] + value if name in sums else value
                counts[name] = counts.get(name, 0) + 1
            if ctrl_c.pressed:
                break
        means = {name: float(total) / counts[name] for name, total in sums.items()}
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            raise self._diverged(f"{bad[0]} is {means[bad[0]]}")
        return means, self.step - first, time.monotonic() - began

    def _diverged(self, what: str) -> TrainingDivergedError:
        kept = self.out / CHECKPOINT
        return TrainingDivergedError(
            f"{what} before step {self.step}: training has diverged; "
            + (f"{kept} holds the last good state; " if kept.exists() else "")
            + "try a lower learning rate, e.g. --set generator_lr=1e-4 --set critic_lr=1e-4"
        )

    def _write_if_due(self, config: TrainConfig) -> None:
        if self.step % config.sample_every == 0:
            self._draw_samples()
        if self.step % config.checkpoint_every == 0:
            self._save()

    def _batches(self) -> Iterator[Batch]:
        for images, labels in self.data_batches:
            yield Batch(images, labels if self.config.is_conditional else None)

    def _restore(self, checkpoint: Checkpoint) -> None:
        changed = f"{self.config.data}: is no longer the data that {self.out} was trained on"
        if checkpoint.generator_spec != self.generator_spec or checkpoint.class_names != self.class_names:
            raise DataError(f"{changed} (size or classes)")
        try:
            self.data_batches.load_state_dict(checkpoint.batches)
        except ValueError as error:
            raise DataError(f"{changed} ({error})") from error
        try:
            self.trainer.load_state_dict(checkpoint.trainer)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{self.out / CHECKPOINT}: the checkpoint is damaged: {error!r}") from error
        self.history, self.seconds = list(checkpoint.history), checkpoint.seconds

    def _save(self) -> None:
        state = self.trainer.state_dict()
        for net in ("generator", "critic"):
            # The last step's losses were finite, but what that step did to the weights shows only in the next losses.
            bad = next((name for name, value in state[net].items() if not value.isfinite().all()), None)
            if bad:
                raise self._diverged(f"the {net}'s {bad} is not finite")
        save_checkpoint(
            Checkpoint(
                config=self.config,
                generator_spec=self.generator_spec,
                critic_spec=self.critic_spec,
                class_names=self.class_names,
                trainer=state,
                batches=self.data_batches.state_dict(),
                seconds=self.seconds,
                history=self.history,
            ),
            self.out / CHECKPOINT,
        )

    def _draw_samples(self) -> None:
        picture = self.samples.draw(self.trainer.ema, self.device)
        path = self.out / SAMPLES / f"step_{self.step:07d}.png"
        with self._writing():
            write_whole(path, lambda part: picture.save(part, format="PNG"))

    def _log(self, line: dict[str, float]) -> None:
        rounded = {name: round(value, 5) for name, value in line.items()}
        self.history.append(rounded)
        with self._writing(), (self.out / METRICS).open("a") as file:
            file.write(json.dumps(rounded) + "\n")

    def _remove_old_run(self) -> None:
        """What --force starts anew: else a run that dies early would be resumed as the one before it."""
        (self.out / CHECKPOINT).unlink(missing_ok=True)
        for picture in (self.out / SAMPLES).glob("step_*.png"):
            picture.unlink()

    def _rewrite_metrics(self) -> None:
        """Lines after the checkpoint's step are of steps that will be done again."""
        text = "".join(json.dumps(line) + "\n" for line in self.history)
        write_whole(self.out / METRICS, lambda part: part.write_text(text))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointError(f"{self.out}: can't write there: {error.strerror}") from error


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; raises ConfigError on a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"device {name!r} can't be used here ({reason}); use auto, cpu or cuda") from None
    return device


def choose_bf16(precision: str, device: torch.device) -> bool:
    """Whether to autocast to bfloat16; `auto` does where the hardware multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def describe(run: Run) -> str:
    """One paragraph on what will be trained, for the terminal and for --dry-run."""
    config, g = run.config, run.generator_spec
    parameters = sum(p.numel() for p in run.trainer.generator.parameters())
    critic_parameters = sum(p.numel() for p in run.trainer.critic.parameters())
    what = f"{g.classes} classes" if g.classes else "no labels"
    return (
        f"{config.type} on {config.data}: {len(run.data):,} images, {g.image_size}x{g.image_size}, "
        f"{'grey' if g.channels == 1 else 'RGB'}, {what}; generator {parameters:,} and critic {critic_parameters:,} "
        f"parameters; {config.steps:,} steps of {config.batch_size} on {run.device}"
        f"{' in bf16' if run.bf16 else ''}"
    )
