"""Progress of a long command on stderr: a bar on a terminal, else a line every ten seconds."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gan_client.datasets.build import ReportFn

_LINE_SECONDS: Final = 10.0


@contextlib.contextmanager
def show_progress(total: int, what: str, quiet: bool) -> Iterator[ReportFn]:
    """A function that is told, again and again, how many of `total` images are done; it shows images/s and the ETA.

    The first number that it is told was there before, and doesn't count as speed.
    """
    if quiet:
        yield lambda _done: None
    elif sys.stderr.isatty():
        with _bar(total, what) as report:
            yield report
    else:
        yield ProgressLines(total)


@contextlib.contextmanager
def _bar(total: int, what: str) -> Iterator[ReportFn]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f} images/s")

    columns = (BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn(compact=True))
    # At the end it goes: the summary says the same, and Ctrl-C leaves one line.
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total, start=False)

        def report(done: int) -> None:
            started = progress.tasks[0].started
            progress.update(task, completed=done)
            if not started:
                progress.reset(task, completed=done)

        yield report


class ProgressLines:
    """Plain lines: how many are done, how quickly those since the last line came, how long the rest takes."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._clock = total, clock
        self._last: tuple[float, int] | None = None
        self._printed = False

    def __call__(self, done: int) -> None:
        """Print a line if the last one is ten seconds old, or if all are done and it took so long at all."""
        now = self._clock()
        if self._last is None:
            self._last = now, done
        at, before = self._last
        if done == before or (now - at < _LINE_SECONDS and not (self._printed and done == self._total)):
            return
        self._printed = True
        speed = (done - before) / max(now - at, 1e-9)
        left = round((self._total - done) / speed)
        eta = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        text = f"{done:,} of {self._total:,} images, {speed:,.0f} images/s, {eta} left"
        print(text, file=sys.stderr, flush=True)
        self._last = now, done
