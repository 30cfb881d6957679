"""The monitor of a run: rings alarms, and says in a word how the run does."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .alarm import Alarm
from .rules import LONGER, RULES, SETTLED, Line

KEPT = 2 * LONGER  # steps of history that rules may look at
LOOKS = 2  # lines with a measure that they may look at besides, however old
SILENCE = LONGER  # steps for which a fault must be gone before it rings again


class Monitor:
    """Feed it every line of metrics.jsonl, in order; its state is a function of those lines alone.

    What is measured rarely counts until it is measured again: a fault stands until the next look clears it.
    """

    def __init__(self) -> None:
        self.alarms: list[Alarm] = []
        self._recent: deque[Line] = deque()
        self._latest: dict[str, deque[Line]] = {}  # measure -> the last lines that have it
        self._last_seen: dict[str, float] = {}  # kind -> last step at which the fault was there

    def update(self, line: Line) -> list[Alarm]:
        """The alarms that this line rings; a fault that lasts rings once."""
        before = self._recent[-1]["step"] if self._recent else 0.0
        self._take_in(line)
        history = self._history()
        rung: list[Alarm] = []
        for rule in RULES:
            message = rule.finds(history)
            if message is None:
                continue
            seen = self._last_seen.get(rule.kind, -float("inf"))
            if seen < before and line["step"] - seen > SILENCE:
                rung.append(Alarm(int(line["step"]), rule.kind, message))
            self._last_seen[rule.kind] = line["step"]
        self.alarms += rung
        return rung

    def _take_in(self, line: Line) -> None:
        self._recent.append(line)
        while self._recent[0]["step"] < line["step"] - KEPT:
            self._recent.popleft()
        for name in line:
            self._latest.setdefault(name, deque(maxlen=LOOKS)).append(line)

    def _history(self) -> list[Line]:
        """What rules look at, in order."""
        first = self._recent[0]["step"]
        older = {line["step"]: line for lines in self._latest.values() for line in lines if line["step"] < first}
        return [older[step] for step in sorted(older)] + list(self._recent)

    def replay(self, history: Iterable[Line]) -> None:
        """Take in the lines of a run that is resumed."""
        for line in history:
            self.update(line)

    @property
    def verdict(self) -> str:
        """`starting`, `healthy`, or the gravest fault that is there now."""
        if not self._recent or self._recent[-1]["step"] < SETTLED:
            return "starting"
        now = self._recent[-1]["step"]
        return next((rule.kind for rule in RULES if self._last_seen.get(rule.kind) == now), "healthy")
