"""Files that users could have written."""

from collections.abc import Callable
from pathlib import Path

import pytest

WriteFn = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> WriteFn:
    """Write files into one folder; returns the first one's path."""

    def save(**files: str) -> str:
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path / (next(iter(files)).replace("__", "/") + ".py"))

    return save
