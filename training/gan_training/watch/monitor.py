"""The monitor of a run: rings alarms, and says in a word how the run does."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gan_training.alarm import Alarm

from .rules import LONGER, RULES, SETTLED, Line

KEPT = 2 * LONGER  # steps of history that rules may look at
SILENCE = LONGER  # steps for which a fault must be gone before it rings again


class Monitor:
    """Feed it every line of metrics.jsonl, in order; its state is a function of those lines alone."""

    def __init__(self) -> None:
        self.alarms: list[Alarm] = []
        self._recent: deque[Line] = deque()
        self._last_seen: dict[str, float] = {}  # kind -> last step at which the fault was there

    def update(self, line: Line) -> list[Alarm]:
        """The alarms that this line rings; a fault that lasts rings once."""
        self._recent.append(line)
        while self._recent[0]["step"] < line["step"] - KEPT:
            self._recent.popleft()
        rung: list[Alarm] = []
        for rule in RULES:
            message = rule.finds(self._recent)
            if message is None:
                continue
            if line["step"] - self._last_seen.get(rule.kind, -float("inf")) > SILENCE:
                rung.append(Alarm(int(line["step"]), rule.kind, message))
            self._last_seen[rule.kind] = line["step"]
        self.alarms += rung
        return rung

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
