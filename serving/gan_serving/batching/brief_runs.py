"""Whether one image is computed so soon that the event loop should do it itself."""

from __future__ import annotations

from typing import Final

BRIEF_SECONDS: Final = 0.0002
"""Of a run of one image. To hand it to a thread and back takes about as long as this: with one connection 2,040
requests/s became 2,530 (28x28, 0.1 ms a run; medians of 3 rounds in turns)."""
RUNS: Final = 200
"""One after the other that have to be brief before it is believed: while the loop computes, nobody else is answered."""


class BriefRuns:
    """Of one session. A single run that takes longer, as on a busy machine, has all begin anew."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def ran(self, images: int, seconds: float) -> None:
        """So many images were computed in one run; only runs of one image tell."""
        if images == 1:
            self._in_a_row = self._in_a_row + 1 if seconds <= BRIEF_SECONDS else 0

    def expected(self, images: int) -> bool:
        """Whether a run of so many images will be brief, as far as can be told."""
        return images == 1 and self._in_a_row >= RUNS
