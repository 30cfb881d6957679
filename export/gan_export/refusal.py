"""What is said of what can't be exported."""

import re
from typing import Final

BATCH_HINT: Final = "; if a batch size is built in, export it with a dynamic first dimension"
_OF_SHAPES: Final = re.compile(r"shape|dimension|broadcast|channel", re.IGNORECASE)
"""Of what ONNX Runtime says where tensors do not fit each other."""


class IntakeError(ValueError):
    """A file, or an option for it, that can't be exported; the message is one line for the user."""


class ExportError(RuntimeError):
    """The export failed and left nothing behind, unless it says so; the message is one line for the user, `code`
    stable."""

    def __init__(self, message: str, *, code: str = "output") -> None:
        super().__init__(message)
        self.code = code


class StoppedError(Exception):
    """Ctrl-C when an artifact was written already; the message is one line for the user that says so."""


def batch_hint(said: str) -> str:
    """What stands behind the words of ONNX Runtime with which a graph failed; empty if it is not about shapes."""
    # Before that stand names of the graph's own.
    return BATCH_HINT if _OF_SHAPES.search(said.rpartition("Status Message:")[2]) else ""
