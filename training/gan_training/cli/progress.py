"""How a run shows itself on the terminal: advice, a progress bar (or a line now and then), alarms."""

from __future__ import annotations

import time

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gan_training.runs.outcome import Progress as RunProgress

from .terminal import console_of_stderr

SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal: a log, CI
LONG = 2.0  # seconds after which something besides training is worth a line there
WIDE = 100  # columns of a terminal from which on the bar is a long one
BESIDE_BAR = 16  # columns of the percentage, of the time that has passed, and between those


class Reporter:
    """Call it with each Progress of a run; `tell` is for what takes long besides. Writes to stderr."""

    def __init__(self) -> None:
        self.console = console_of_stderr()
        self.bar_width = 40 if self.console.width >= WIDE else 10
        self.bar = Progress(
            BarColumn(self.bar_width),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),  # names of files are no markup, and hold no emoji
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.training: TaskID | None = None
        self.side: TaskID | None = None
        self.side_what, self.side_began, self.side_told = "", 0.0, False
        self.last_line = 0.0

    def __enter__(self) -> Reporter:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def line(self, text: str, style: str | None = None) -> None:
        """A line above the bar that stays."""
        self.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True, style=style)

    def tell(self, what: str, done: int, total: int) -> None:
        """Something else than training is under way, and may take a minute."""
        if self.side is None or what != self.side_what:
            self.side, self.side_what = self.bar.add_task(self._cut(what), total=total), what
            self.side_began, self.side_told = time.monotonic(), self.console.is_terminal
        self.bar.update(self.side, completed=done, total=total)
        if not self.side_told and done < total and time.monotonic() - self.side_began > LONG:
            self.side_told = True
            self.line(f"{what} ...")
        if done >= total:
            self.bar.remove_task(self.side)
            self.side = None

    def __call__(self, progress: RunProgress) -> None:
        for alarm in progress.alarms:
            self.line(f"step {alarm.step:,}: {alarm.kind}: {alarm.message}", style="bold yellow")
        if self.training is None:
            self.training = self.bar.add_task("", total=1.0)
        text = describe_progress(progress, self._room())
        self.bar.update(self.training, completed=progress.share, description=text)
        due = progress.seconds - self.last_line >= SECONDS_BETWEEN_LINES or progress.share == 1
        if not self.console.is_terminal and due:
            self.last_line = progress.seconds
            self.line(f"{progress.share:4.0%} {describe_progress(progress)}")

    def _room(self) -> int:
        """Columns for text on the bar's right. What needs more would be taken from all columns, the bar's too."""
        return self.console.width - self.bar_width - BESIDE_BAR

    def _cut(self, text: str) -> str:
        room = self._room()
        return text if len(text) <= room else text[: room - 1] + "…"


def describe_progress(progress: RunProgress, room: int | None = None) -> str:
    """`healthy, step 500/4,000, ETA 1:43, 1,652 images/s, critic 1.32, generator 0.76`.

    Of these as many as `room` (columns) has place for, and the first one always.
    """
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    facts = [
        *filter(None, [progress.verdict]),
        f"step {progress.step:,}/{progress.steps:,}",
        f"ETA {minutes}:{seconds:02d}",
        f"{progress.images_per_second:,.0f} images/s",
        *(
            f"{name.removesuffix('_loss')} {progress.losses[name]:.2f}"
            for name in ("critic_loss", "generator_loss")
            if name in progress.losses
        ),
    ]
    while room is not None and len(facts) > 1 and len(", ".join(facts)) > room:
        facts.pop()
    return ", ".join(facts)
