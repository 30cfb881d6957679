"""What is looked at while a run trains, and the files that its owner sees; training itself depends on none of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from gan_training.checkpoint import BEST, CHECKPOINT
from gan_training.config import TrainConfig
from gan_training.data import ImageData
from gan_training.failures import writing
from gan_training.files.atomic import part_of, write_atomically
from gan_training.grid import FixedSamples, pairs
from gan_training.loop import Trainer
from gan_training.metrics.subsample import subsample
from gan_training.pages.measures import best_line
from gan_training.specs import GeneratorSpec
from gan_training.watch.advice import advise
from gan_training.watch.alarm import Alarm
from gan_training.watch.memorisation import MemorisationCheck
from gan_training.watch.monitor import Monitor
from gan_training.watch.probe import DiversityProbe

from .tensorboard import EventWriter
from .window import is_due

if TYPE_CHECKING:
    from gan_training.evaluation.validation import Validation

METRICS = "metrics.jsonl"
ALARMS = "alarms.jsonl"
SAMPLES = "samples"
REPORT = "report.html"
EVENTS = "tensorboard"
FEWEST = 3  # images that can be evaluated against: one held out, and two for the Frechet distance
COMPARED = 256  # samples at most whose nearest training image is looked for
PAIRS = 32  # samples shown beside their nearest training images

TellFn = Callable[[str, int, int], None]
"""Told what takes long, and (done, total)."""


class Observer:
    """Diversity, samples, evaluations, alarms, metrics.jsonl, report.html and TensorBoard events of one run.

    Whatever it draws comes from generators of its own, so that a run is the same to the bit however it is observed.
    """

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        data: ImageData,
        spec: GeneratorSpec,
        device: torch.device,
        tell: TellFn = lambda *_: None,
    ) -> None:
        self.config, self.out, self.data, self.spec, self.device, self.tell = config, out, data, spec, device, tell
        self.history: list[dict[str, float]] = []
        self.monitor = Monitor()
        self.samples = FixedSamples(spec, config.seed)
        self.pairs: Image.Image | None = None
        self.events: EventWriter | None = None
        self.check_place: Callable[[], None] = lambda: None
        # Made when they are first needed: short runs never do.
        self._probe: DiversityProbe | None = None
        self._memorisation: MemorisationCheck | None = None
        self._validation: Validation | None = None

    @cached_property
    def advice(self) -> list[str]:
        """What to know before the first step; looked for when it is first asked for, by the process that tells it."""
        return advise(self.data, self.config)

    def restore(self, history: list[dict[str, float]]) -> None:
        """Go on from the lines of a checkpoint."""
        self.history = list(history)
        self.monitor.replay(history)

    def open(
        self, stale: tuple[str, ...] | None, check_place: Callable[[], None], *, tensorboard: bool = False
    ) -> None:
        """Make the run's folder ready.

        Args:
            stale: files to delete where a run starts anew; None where it goes on.
            check_place: raises an error where the folder is no longer the run's; called before each file is written.
            tensorboard: whether to write events.

        Raises:
            CheckpointError: the folder can't be written.
            ConfigError: events are asked for, and the package tensorboard is not installed.
        """
        self.check_place = check_place
        # First, as it may fail: nothing of an earlier run is deleted then.
        if tensorboard:
            step = int(self.history[-1]["step"]) if self.history else 0
            self.events = EventWriter(self.out / EVENTS, resumed_at=None if stale is not None else step)
            if stale is not None:
                self.events.config(self.config.to_dict())
        with writing(self.out):
            (self.out / SAMPLES).mkdir(parents=True, exist_ok=True)
            if stale is not None:
                # Else a run that dies early would be taken for the one before it, and resumed.
                for name in (*stale, REPORT, ALARMS):
                    (self.out / name).unlink(missing_ok=True)
                for picture in (self.out / SAMPLES).glob("step_*.png"):
                    picture.unlink()
            self._remove_parts()
            # Lines after the checkpoint's step are of steps that will be done again.
            _write_lines(self.out / METRICS, self.history)
            self._write_alarms()

    def _remove_parts(self) -> None:
        """What a process that was killed while it wrote has left; this one is alone here."""
        for name in (CHECKPOINT, BEST, METRICS, ALARMS, REPORT):
            part_of(self.out / name).unlink(missing_ok=True)
        for part in (self.out / SAMPLES).glob(part_of(Path("step_*.png")).name):
            part.unlink()

    def observe(self, line: dict[str, float], trainer: Trainer) -> list[Alarm]:
        """Add to this step's line what is due now, write it, and return the alarms that it rings."""
        step = trainer.steps_done
        if is_due(step, self.config.watch_every):
            line |= self._measure_diversity(trainer)
        if is_due(step, self.config.evaluate_every) and len(self.data) >= FEWEST:
            line |= self._validate(trainer)
        if is_due(step, self.config.sample_every):
            line |= self.draw_samples(trainer)
        rounded = {name: value if name == "step" else float(f"{value:.6g}") for name, value in line.items()}
        self.history.append(rounded)
        alarms = self.monitor.update(rounded)
        self.check_place()  # what was due may have taken minutes
        with writing(self.out):
            with (self.out / METRICS).open("a") as file:
                file.write(json.dumps(rounded) + "\n")
            if alarms:
                self._write_alarms()
        if self.events is not None:
            self.events.scalars(step, rounded)
            for alarm in alarms:
                self.events.alarm(alarm.step, alarm.kind, alarm.message)
        return alarms

    def draw_samples(self, trainer: Trainer) -> dict[str, float]:
        """Write the sample grid of this step, and compare its images with the training set."""
        step = trainer.steps_done
        images, picture = self.samples.draw(trainer.ema)
        self.check_place()
        with writing(self.out):
            write_atomically(self.out / SAMPLES / f"step_{step:07d}.png", lambda part: picture.save(part, format="PNG"))
        if self.events is not None:
            self.events.picture(step, picture)
        return {"memorisation_ratio": self._compare(images)}

    def is_best(self) -> bool:
        """Whether the last line was an evaluation, and the best one so far."""
        is_evaluated = bool(self.history) and "frechet_distance" in self.history[-1]
        return is_evaluated and best_line(self.history) is self.history[-1]

    def flush(self) -> None:
        """Bring TensorBoard's events to disk, e.g. before a checkpoint says that these steps are done."""
        if self.events is not None:
            self.events.flush()

    def write_report(self, trainer: Trainer, description: str, finished: str, *, failed: bool = False) -> None:
        """Write report.html anew."""
        # matplotlib: a second that not every run needs
        from gan_training.pages.report import RunRecord, versions, write_report

        if self.pairs is None and not failed and any((self.out / SAMPLES).glob("step_*.png")):
            self._compare(self.samples.draw(trainer.ema)[0])  # of grids from before a resume
        last = self.history[-1] if self.history else {"step": 0, "seconds": 0.0}
        record = RunRecord(
            config=self.config,
            description=description,
            step=int(last["step"]),
            seconds=last["seconds"],
            finished=finished,
            failed=failed,
            verdict="diverged" if failed and not self.monitor.alarms else self.monitor.verdict,
            history=self.history,
            alarms=self.monitor.alarms,
            advice=self.advice,
            samples=self.out / SAMPLES,
            best=best_line(self.history),
            pairs=self.pairs,
            versions=versions(self.device) | self._judge(),
        )
        self.check_place()
        write_report(self.out / REPORT, record)
        self.flush()

    def _judge(self) -> dict[str, str]:
        """The weights of the classifier that has evaluated, if one has: figures compare under one alone."""
        return {} if self._validation is None else {"classifier": self._validation.extractor.fingerprint}

    def close(self) -> None:
        if self.events is not None:
            self.events.close()

    def _measure_diversity(self, trainer: Trainer) -> dict[str, float]:
        if self._probe is None:
            self._probe = DiversityProbe(self.data, self.spec, self.config.seed)
        return self._probe.measure(trainer.generator, trainer.steps_done).to_dict()

    def _validate(self, trainer: Trainer) -> dict[str, float]:
        with torch.random.fork_rng(devices=[]):  # a new classifier's weights are drawn from the global generator
            if self._validation is None:
                from gan_training.evaluation.validation import Validation  # not every run needs it

                what = "training the classifier that evaluates (once for these data)"
                self._validation = Validation(
                    self.data, self.spec, self.config.seed, lambda done, total: self.tell(what, done, total)
                )
            return self._validation.measure(trainer.ema)

    def _compare(self, images: Tensor) -> float:
        """Look for the training images nearest to samples; returns the memorisation ratio, and keeps the pairs."""
        if self._memorisation is None:
            self._memorisation = MemorisationCheck(self.data)
        images = subsample(images, COMPARED)
        ratio, nearest = self._memorisation.check(images)
        order = nearest.distances.argsort()[:PAIRS]  # the samples closest to training images
        self.pairs = pairs(images[order], self.data.images[nearest.indices[order]])
        return ratio

    def _write_alarms(self) -> None:
        if self.monitor.alarms or (self.out / ALARMS).exists():
            _write_lines(self.out / ALARMS, [vars(alarm) for alarm in self.monitor.alarms])


def _write_lines(path: Path, lines: list[dict[str, float]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomically(path, lambda part: part.write_text(text))
