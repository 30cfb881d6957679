"""A training run in a directory: builds everything from a TrainConfig, trains, and keeps checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

import torch

from gan_training.build import build_loop_settings, build_objective, build_specs
from gan_training.checkpoint import BEST, CHECKPOINT, Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from gan_training.config import TrainConfig
from gan_training.data import DataError, ImageData
from gan_training.data.batches import EpochBatches
from gan_training.device import choose_bf16, choose_device, compute_exactly
from gan_training.loop import Trainer
from gan_training.nets import Critic, Generator, draw_latents
from gan_training.objectives import Batch
from gan_training.parallel import SINGLE, Parallel
from gan_training.watch.alarm import Alarm

from .data_of_run import check_fit, find_again, load_for, place_of
from .description import describe
from .divergence import check_losses, check_weights_finite, finite_images
from .folder import alone_in, check_folder, check_free, check_resumable, check_untouched, stamp
from .interrupt import CtrlC
from .memory import enough_memory, is_short_of_memory
from .observer import Observer, TellFn
from .outcome import Progress, TrainingDivergedError, TrainingStoppedError
from .resume import changed_config, check_data, other_measures, other_precision, why_finished, why_not_restored
from .window import Window, advance, is_due, is_time_up, steps_until_due


class Run:
    """One run: `Run.fresh(...)` starts anew, `Run.resumed(...)` goes on; `train()` works until the end."""

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        data: ImageData,
        checkpoint: Checkpoint | None = None,
        parallel: Parallel = SINGLE,
        tell: TellFn = lambda *_: None,
    ) -> None:
        self.config, self.out, self.data, self.parallel = config, out, data, parallel
        check_fit(config, data)
        self.device = parallel.device(choose_device(config.device))
        # The same for all processes: each one's machine was measured, and one alone may have been disturbed.
        was = None if checkpoint is None else checkpoint.precision
        self.bf16 = not parallel.anyone(not choose_bf16(config.precision, self.device, was))
        compute_exactly(self.device, bf16=self.bf16)
        self.class_names = data.class_names if config.is_conditional else ()
        self.generator_spec, self.critic_spec = build_specs(config, data.image_size, data.channels, data.classes)
        self.data_batches = EpochBatches(data, config.batch_size, config.seed, parallel.rows(config.batch_size))
        torch.manual_seed(config.seed)
        self.trainer = Trainer(
            Generator(self.generator_spec),
            Critic(self.critic_spec),
            build_objective(config),
            self._batches(),
            lambda n, rng: draw_latents(n, config.latent_dim, config.latent, rng) * config.latent_scale,
            build_loop_settings(config, bf16=self.bf16),
            seed=config.seed,
            device=self.device,
            parallel=parallel,
        )
        self.observer = Observer(config, out, data, self.generator_spec, self.device, tell)
        self.seconds = 0.0
        self.data_at = place_of(config.data)
        self.found = stamp(out / CHECKPOINT)  # what may be replaced
        self.saved_step: int | None = None  # by this call of `train`
        self.check_place: Callable[[], None] = lambda: None  # before something is written; of this call too
        self.is_resumed = checkpoint is not None
        if checkpoint is not None:
            self._restore(checkpoint)

    @classmethod
    def fresh(
        cls,
        config: TrainConfig,
        out: Path,
        *,
        force: bool = False,
        parallel: Parallel = SINGLE,
        tell: TellFn = lambda *_: None,
    ) -> Run:
        """A new run in `out`; refuses a folder that holds a checkpoint already unless `force`.

        `parallel`: the processes that train it together. `tell`: told what takes long, and (done, total).
        """
        check_folder(out)
        found = stamp(out / CHECKPOINT)
        if not force:
            check_free(out)
        data = load_for(config, parallel, tell, config.data)
        with enough_memory(config):
            run = cls(config, out, data, parallel=parallel, tell=tell)
        run.found = found
        return run

    @classmethod
    def resumed(
        cls, out: Path, changes: dict[str, object], parallel: Parallel = SINGLE, tell: TellFn = lambda *_: None
    ) -> Run:
        """Go on with the run in `out`. Only TrainConfig.RUNTIME settings may differ from the checkpoint's, where the
        same data are now, and which of several GPUs trains."""
        check_resumable(out)
        found = stamp(out / CHECKPOINT)
        with parallel.main_first():
            checkpoint = load_checkpoint(out / CHECKPOINT)
        config = changed_config(checkpoint, changes)
        place = config.data if "data" in changes else find_again(config.data, checkpoint.data_at)
        data = load_for(config, parallel, tell, place)
        told = [check_data(data, config, checkpoint), why_finished(config, checkpoint), other_measures(checkpoint)]
        with enough_memory(config):
            run = cls(config, out, data, checkpoint, parallel, tell)
        run.data_at = place_of(place)
        run.advice = [line for line in (*told, other_precision(run.precision, checkpoint)) if line]
        run.found = found
        return run

    def train(self, report: Callable[[Progress], None], *, tensorboard: bool = False) -> Path:
        """Train to the end, report every `log_every` steps; returns the checkpoint's path.

        Ctrl-C (in the main thread) stops after the step that is running, as does SIGTERM where the program handles it.
        Ctrl-C pressed twice stops at once and unsaved.
        `tensorboard`: write events into the folder `tensorboard`.

        Raises:
            TrainingDivergedError: a loss, weight or image is no longer finite, and the last good checkpoint stays; or
                samples have collapsed and `stop_on_collapse` is set.
            TrainingStoppedError: Ctrl-C or SIGTERM; the checkpoint holds the last step.
            OutOfMemoryError: the run is too large for the machine.
            CheckpointError: the disk is full, the folder can't be written, was moved or removed, or another process
                trains there, or has done so since this run was made.
        """
        with alone_in(self.out) if self.parallel.is_main else nullcontext(lambda: None) as self.check_place:
            if self.parallel.is_main:
                check_untouched(self.out, self.found)
                stale = None if self.is_resumed else (CHECKPOINT, BEST)
                self.observer.open(stale, self.check_place, tensorboard=tensorboard)
            try:
                with enough_memory(self.config), finite_images(lambda: self.step, self.out / CHECKPOINT):
                    self._train(report)
            except (TrainingStoppedError, TrainingDivergedError) as error:
                self._report(str(error), failed=isinstance(error, TrainingDivergedError))
                raise
            finally:
                self.observer.close()
            self._report("finished")
        return self.out / CHECKPOINT

    def _train(self, report: Callable[[Progress], None]) -> None:
        config = self.config
        began, before = time.monotonic(), self.seconds
        self.saved_step = None
        with CtrlC() as ctrl_c:

            def is_stopped() -> bool:
                return self.parallel.anyone(ctrl_c.pressed)

            while not self._is_finished():
                window = advance(self.trainer, steps_until_due(config, self.step), config.batch_size, is_stopped)
                self.seconds = before + time.monotonic() - began
                alarms = self._look_at(window, report)
                # Pressed during a step, or while files were written or the report was drawn; after the last step there
                # is nothing left to stop.
                if is_stopped() and not self._is_finished():
                    self._save()
                    kept = self.out / CHECKPOINT
                    raise TrainingStoppedError(
                        f"stopped at step {self.step:,}; saved in {kept}; continue with --resume"
                    )
                if is_due(self.step, config.checkpoint_every):
                    self._save()
                self._stop_on_collapse(alarms)
            self._save()
        if self.parallel.is_main and not is_due(self.step, config.sample_every):
            self.observer.draw_samples(self.trainer)

    @cached_property
    def advice(self) -> list[str]:
        """What to know before it trains; of a run that goes on, what is not as it was."""
        return self.observer.advice

    @cached_property
    def data_sha256(self) -> str:
        """By which a resume knows the data again."""
        return self.data.digest()

    @property
    def description(self) -> str:
        """One paragraph on what will be trained."""
        return describe(self.config, self.generator_spec, len(self.data), self.trainer)

    @property
    def precision(self) -> str:
        """`fp32` or `bf16`, where the configuration may have `auto`."""
        return "bf16" if self.bf16 else "fp32"

    @property
    def step(self) -> int:
        """Generator updates done."""
        return self.trainer.steps_done

    def _is_finished(self) -> bool:
        """Whether its steps are done, or its minutes used up in any process."""
        return self.step >= self.config.steps or self.parallel.anyone(is_time_up(self.config, self.seconds))

    def _look_at(self, window: Window, report: Callable[[Progress], None]) -> list[Alarm]:
        """Check, observe and report what came of the last steps; returns the alarms that it rings."""
        config, rate, losses = self.config, window.images_per_second, window.losses
        check_losses(losses, self.step, self.out / CHECKPOINT)
        if is_due(self.step, config.evaluate_every):
            self._check_weights()
        alarms = self._observe({"step": self.step, "seconds": self.seconds, "images_per_second": rate, **losses})
        verdict = self.observer.monitor.verdict
        report(Progress(self.step, config.steps, self.seconds, config.minutes, rate, losses, verdict, tuple(alarms)))
        return alarms

    def _observe(self, line: dict[str, float]) -> list[Alarm]:
        """Let the observer look, in the first process; a new best evaluation is kept as best.pt."""
        if not self.parallel.is_main:
            return []
        alarms = self.observer.observe(line, self.trainer)
        if self.observer.is_best():
            save_checkpoint(self._checkpoint(), self.out / BEST)
        if is_due(self.step, self.config.evaluate_every):
            self._report("running")
        return alarms

    def _report(self, finished: str, *, failed: bool = False) -> None:
        if self.parallel.is_main and self.config.report:
            self.observer.write_report(self.trainer, self.description, finished, failed=failed)

    def _stop_on_collapse(self, alarms: list[Alarm]) -> None:
        collapsed = [alarm for alarm in alarms if alarm.kind == "collapse"]
        if not self.config.stop_on_collapse or not self.parallel.anyone(bool(collapsed)):
            return
        self._save()
        best = self.out / BEST
        kept = f"{best} holds the best state" if best.exists() else f"{self.out / CHECKPOINT} holds this state"
        what = collapsed[0].message if collapsed else "mode collapse"
        raise TrainingDivergedError(f"stopped at step {self.step:,}: {what}; {kept}")

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
            self.observer.restore(checkpoint.history)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            if is_short_of_memory(error):
                raise
            raise CheckpointError(f"{self.out / CHECKPOINT}: {why_not_restored(error, checkpoint)}") from error
        self.seconds = checkpoint.seconds

    def _check_weights(self) -> None:
        """Before a state is judged or kept; raises TrainingDivergedError."""
        trainer = self.trainer
        nets = {"generator": trainer.generator, "critic": trainer.critic, "average": trainer.ema}
        check_weights_finite(nets, self.step, self.out / CHECKPOINT)

    def _save(self) -> None:
        if self.saved_step == self.step:
            return
        self._check_weights()
        if self.parallel.is_main:
            self.check_place()
            self.observer.flush()
            save_checkpoint(self._checkpoint(), self.out / CHECKPOINT)
            self.found = stamp(self.out / CHECKPOINT)
        self.saved_step = self.step

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            config=self.config,
            generator_spec=self.generator_spec,
            critic_spec=self.critic_spec,
            class_names=self.class_names,
            trainer=self.trainer.state_dict(),
            batches=self.data_batches.state_dict(),
            seconds=self.seconds,
            history=self.observer.history,
            data_sha256=self.data_sha256,
            data_at=self.data_at,
            precision=self.precision,
        )
