"""Standard output whose reader stops, is slow, or goes: nobody who writes waits for it."""

import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from waiting import until

from gan_serving.process import output as module
from gan_serving.process.output import MOST_WAITING, Output, write_logs_aside

PATIENCE = 30.0  # seconds for what must happen
LINE = "x" * 99 + "\n"
COST = 20e-6  # seconds of one line where it is written from; below 1 us measured


@dataclass
class Pipe:
    """A pipe with little room, and an output into it."""

    ends: tuple[int, int] = field(default_factory=os.pipe)

    def __post_init__(self) -> None:
        fcntl.fcntl(self.ends[1], fcntl.F_SETPIPE_SZ, 4096)
        self.output, self.lines = Output(self.ends[1]), list[str]()
        self._reader: threading.Thread | None = None

    def begin_reading(self) -> None:
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with open(self.ends[0], encoding="utf-8") as stream:  # noqa: PTH123  # a descriptor has no path
            self.lines.extend(stream)

    def all_lines(self) -> list[str]:
        """Closes the end that is written to."""
        os.close(self.ends[1])
        assert self._reader is not None
        self._reader.join(PATIENCE)
        return self.lines


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    for end in made.ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_nobody_waits_while_nothing_is_read_and_what_was_dropped_is_told(
    pipe: Pipe, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    caplog.set_level(logging.WARNING, "bentoml.ganworks")
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)  # BentoML may have turned it off
    lines = [f"{i:098}\n" for i in range(3 * MOST_WAITING)]
    for line in lines:
        pipe.output.write(line)
    pipe.begin_reading()
    until(lambda: caplog.records, "a line of what was dropped")
    pipe.output.write("last\n")
    pipe.output.close(PATIENCE)
    *found, last = pipe.all_lines()
    assert last == "last\n"
    assert MOST_WAITING <= len(found) < len(lines)
    assert found == lines[: len(found)]
    (record,) = caplog.records
    assert record.getMessage().endswith(f": {len(lines) - len(found)} lines of the log were dropped")


def test_what_waits_at_the_end_is_written(pipe: Pipe):
    pipe.begin_reading()
    for i in range(1000):
        pipe.output.write(f"{i}\n")
    pipe.output.close(PATIENCE)
    until(lambda: "999\n" in pipe.lines, "the last line is written")  # there is room for more in the pipe
    pipe.output.write("later\n")  # as the loop's own last words
    assert pipe.all_lines() == [*(f"{i}\n" for i in range(1000)), "later\n"]


def test_the_end_waits_for_a_limited_time(pipe: Pipe):
    for _ in range(1000):
        pipe.output.write(LINE)
    began = time.monotonic()
    pipe.output.close(0.1)
    pipe.output.write(LINE)
    assert 0.1 <= time.monotonic() - began < PATIENCE


def test_a_reader_that_has_gone_is_no_fault(pipe: Pipe):
    os.close(pipe.ends[0])
    pipe.output.write(LINE)
    pipe.output.close(PATIENCE)
    pipe.output.write(LINE)


def test_a_pipe_that_somebody_has_set_not_to_block_loses_nothing(pipe: Pipe):
    os.set_blocking(pipe.ends[1], False)
    for _ in range(1000):
        pipe.output.write(LINE)
    pipe.begin_reading()
    pipe.output.close(PATIENCE)
    assert pipe.all_lines() == [LINE] * 1000


def test_lines_that_come_together_are_written_together(pipe: Pipe, monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []
    monkeypatch.setattr(module.os, "write", lambda _, data: calls.append(len(data)) or len(data))
    for _ in range(100):
        pipe.output.write(LINE)
    pipe.output.close(PATIENCE)
    assert sum(calls) == 100 * len(LINE)
    assert max(calls) <= 4096
    assert len(calls) <= 6


def test_what_is_logged_to_standard_output_goes_the_same_way(monkeypatch: pytest.MonkeyPatch):
    ours, others = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging.getLogger(), "handlers", [ours, others])
    write_logs_aside()
    assert ours.stream is module.OUTPUT
    assert others.stream is sys.stderr


def test_what_waits_when_python_ends_is_written():
    program = "from gan_serving.process.output import *; write_logs_aside(); OUTPUT.write('the last line\\n')"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ended.stdout == "the last line\n"


def test_first_lines_that_come_at_once_begin_one_thread(pipe: Pipe, monkeypatch: pytest.MonkeyPatch):
    writers = [threading.Thread(target=pipe.output.write, args=(LINE,)) for _ in range(3)]
    begun, begin = [], threading.Thread

    def slowly(**given: Any) -> threading.Thread:
        begun.append(given)
        time.sleep(0.05)
        return begin(**given)

    monkeypatch.setattr(module.threading, "Thread", slowly)
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    pipe.output.close(PATIENCE)
    assert len(begun) == 1
    monkeypatch.undo()
    pipe.begin_reading()
    assert pipe.all_lines() == [LINE] * 3


def test_a_line_costs_next_to_nothing(pipe: Pipe):
    pipe.begin_reading()
    began = time.thread_time()
    for _ in range(1000):
        pipe.output.write(LINE)
    assert (time.thread_time() - began) / 1000 < COST
    pipe.output.close(PATIENCE)
    pipe.all_lines()
