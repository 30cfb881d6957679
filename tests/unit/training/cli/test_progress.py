"""The progress bar of gan-train on terminals of several widths."""

import contextlib
import os
import pty
import re
import sys
from dataclasses import replace

import pytest

from gan_training.cli.evaluate import _bar
from gan_training.cli.progress import Reporter, describe_progress
from gan_training.runs.outcome import Progress

PROGRESS = Progress(820, 20_000, 6.0, None, 631.4, {"critic_loss": 1.21, "generator_loss": 0.91}, "critic-wins")
SIDE = "training the classifier that evaluates (once for these data)"
NAMED = "judging d[/b]:one:.npz"  # neither markup nor emoji


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (200, "critic-wins, step 820/20,000, ETA 2:20, 631 images/s, critic 1.21, generator 0.91"),
        (80, "critic-wins, step 820/20,000, ETA 2:20, 631 images/s"),
        (60, "critic-wins, step 820/20,000"),
        (40, "critic-wins"),
    ],
)
@pytest.mark.parametrize("side", [None, SIDE, NAMED])
def test_the_verdict_is_whole_on_a_terminal_of_any_width(monkeypatch, columns: int, expected: str, side: str | None):
    main, terminal = pty.openpty()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(terminal, "w") as writer:
        monkeypatch.setattr(sys, "stderr", writer)
        with Reporter() as reporter:
            if side is not None:
                reporter.tell(side, 1, 2)
            reporter(PROGRESS)
            reporter.bar.refresh()
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", everything(main).decode()))
    shown = [line for line in lines if "critic-wins" in line]
    assert shown
    assert shown[-1].rstrip().endswith(f" {expected}")
    assert max(map(len, lines)) <= columns


def test_a_name_is_neither_markup_nor_emoji_in_the_bar_of_gan_eval(monkeypatch):
    main, terminal = pty.openpty()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(terminal, "w") as writer:
        monkeypatch.setattr(sys, "stderr", writer)
        with _bar() as bar:
            bar.add_task(NAMED, total=1)
            bar.refresh()
    assert NAMED.encode() in everything(main)


def everything(main: int) -> bytes:
    """What was written to a pseudo-terminal, once the other end is closed."""
    read = b""
    with os.fdopen(main, "rb", 0) as reader, contextlib.suppress(OSError):  # EIO at the end, on Linux
        while part := reader.read(1 << 16):
            read += part
    return read


def test_a_log_has_all_of_it_and_no_verdict_where_nobody_looks():
    assert describe_progress(replace(PROGRESS, verdict="")) == (
        "step 820/20,000, ETA 2:20, 631 images/s, critic 1.21, generator 0.91"
    )
