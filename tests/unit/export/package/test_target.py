"""The folder beside the one that an artifact is put into."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from gan_export.package.target import YOUNG, put, staging_folder


def test_what_is_put_into_place_can_be_read_by_another_user(tmp_path: Path):
    with staging_folder(tmp_path / "out") as staging:
        (staging / "manifest.json").touch(0o600)
        put(staging, tmp_path / "out", force=False)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out" / "manifest.json").stat().st_mode & 0o777 == 0o644


HOLD = """
import sys
from pathlib import Path
from gan_export.package.target import staging_folder
with staging_folder(Path(sys.argv[1])) as made:
    (made / "generator.onnx").touch()
    print(made, flush=True)
    input()
"""


@contextlib.contextmanager
def exporting(out: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process in the midst of an export, and its folder; it ends when it is given a line."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())


@pytest.mark.slow
def test_what_a_killed_export_left_goes_with_the_next_one(tmp_path: Path):
    out = tmp_path / "a[b]"
    with exporting(out) as (killed, left):
        killed.kill()
    with exporting(out) as (living, held):
        aside, other, young = (tmp_path / name for name in (".a[b].12345678", ".a[b].old.12345678", ".a[b].abcdefgh"))
        for folder in (aside / "a[b]", other, young):
            folder.mkdir(parents=True)
        for folder in (left, held, aside, other):
            os.utime(folder, (time.time() - YOUNG - 1,) * 2)
        with staging_folder(out) as staging:
            assert set(tmp_path.iterdir()) == {held, aside, other, young, staging}
        living.communicate("\n")
    assert living.returncode == 0
    assert not held.exists()
