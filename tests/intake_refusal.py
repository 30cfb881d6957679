"""What is said of a file of somebody else's that is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gan_export.refusal import IntakeError


def refusal_of(read: Callable[[], object], path: Path, scratch: Path, longest: int) -> str:
    """One line of fewer than `longest` characters behind the path; no temporary file is left in `scratch`."""
    with pytest.raises(IntakeError) as caught:
        read()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable(), "one line"
    assert len(message) < len(str(path)) + longest
    assert not [*scratch.iterdir()], "temporary files are left"
    return message
