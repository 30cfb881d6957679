"""The folder that an artifact is put into: what may stand there already, and how it is replaced."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from gan_export.artifact import CERTIFICATE_FILE, MANIFEST_FILE, PREVIEW_FILE, is_artifact
from gan_export.artifact.golden import GOLDEN_FILE
from gan_export.artifact.manifest import EXACT
from gan_export.artifact.reading import read_manifest
from gan_export.refusal import ExportError

from .card import CARD_FILE
from .variants import VARIANTS, file_of

OWN_FILES: Final = frozenset(
    {MANIFEST_FILE, CERTIFICATE_FILE, PREVIEW_FILE, CARD_FILE, GOLDEN_FILE, *map(file_of, VARIANTS)}
)
"""All that an export may write."""
MAX_NAMED: Final = 3  # files that a message lists
_RANDOM: Final = "?" * 8  # what tempfile puts behind a prefix, as a pattern
YOUNG: Final = 60.0  # seconds in which a staging folder that nobody holds may be one that is just being made


def check_target(out: Path, *, force: bool) -> None:
    """Whether an artifact may be put there.

    Args:
        out: the folder.
        force: an artifact that is there may be replaced.

    Raises:
        ExportError: something is there that is not an artifact, or one that may not be replaced or holds files that are
            not its own; or the place can't be read, or written.
    """
    try:
        if out.exists() or out.is_symlink():
            if not is_artifact(out):
                raise ExportError(f"{out}: exists and is not an artifact; choose another --out")
            if not force:
                raise ExportError(f"{out}: exists already; give --force to replace it, or another --out or --name")
            _refuse_others(out)
        if out.name in ("", ".."):
            raise ExportError(f"{out}: is not a name that a folder can be given; use --out {out.resolve()}")
        _check_place(out)
    except OSError as error:
        raise ExportError(f"{out}: can't write there: {error.strerror}") from error


def _check_place(out: Path) -> None:
    """Raises ExportError if no folder can be made beside `out`, as far as that can be told without trying."""
    there = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not there.is_dir():
        raise ExportError(f"{out}: can't write there: {there} is not a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ExportError(f"{out}: can't write there: {there} is read-only for this user")


def variants_at(out: Path) -> tuple[str, ...]:
    """Names of the variants of the artifact that is there; none where there is no artifact."""
    return tuple(variant.name for variant in read_manifest(out).variants) if is_artifact(out) else ()


def lost_variants(before: Sequence[str], asked: Collection[str]) -> list[str]:
    """A sentence on the variants that an artifact had and that the one in its place was not asked to have."""
    lost = [name for name in before if name not in {EXACT, *asked}]
    again = ",".join(dict.fromkeys([EXACT, *asked, *lost]))
    return [f"{name} is left out: the artifact that was replaced had it; --variants {again} makes it." for name in lost]


def _refuse_others(out: Path) -> None:
    """Raises ExportError if replacing the folder would delete more than an artifact; of a link it deletes nothing."""
    others = [] if out.is_symlink() else sorted(path.name for path in out.iterdir() if path.name not in OWN_FILES)
    if others:
        more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
        names = ", ".join(map(repr, others[:MAX_NAMED]))
        raise ExportError(
            f"{out}: holds {names}{more}, not part of an artifact, which --force would delete: move them elsewhere, or "
            "choose another --out"
        )


@contextlib.contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out`, to be renamed to it; what is left of it, and of the folders made for it, goes at the end.

    So does what exports to `out` left that were killed.

    Raises:
        ExportError: for any OSError, of its own or of what is done inside.
    """
    made: list[Path] = []  # folders that were not there, the deepest first
    try:
        made = [folder for folder in out.parents if not folder.exists()]
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(out)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise ExportError(f"{out}: can't write there: {error.strerror}") from error
    held = contextlib.ExitStack()
    with contextlib.suppress(OSError):  # where folders can't be locked, none is taken for abandoned either
        held.callback(os.close, _locked(staging))
    try:
        yield staging
    except OSError as error:
        raise ExportError(f"{out}: can't write there: {error.strerror}") from error
    finally:
        held.close()
        shutil.rmtree(staging, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):  # after a success it is not empty
                folder.rmdir()


def _remove_abandoned(out: Path) -> None:
    """Delete staging folders of `out` that no process holds any more; where an artifact stepped aside, it stays."""
    prefix = f".{out.name}."
    for folder in out.parent.glob(f"{glob.escape(prefix)}{_RANDOM}"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:  # held, not ours, or no folder
            stack.callback(os.close, _locked(folder))
            if time.time() - folder.stat().st_mtime > YOUNG and not any(inside.is_dir() for inside in folder.iterdir()):
                shutil.rmtree(folder)


def _locked(folder: Path) -> int:
    """A descriptor of the folder that nobody else can lock until it is closed; OSError if somebody has."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def put(staging: Path, out: Path, *, force: bool) -> None:
    """Rename into place, to be read by everybody; an older artifact steps aside first and is deleted last.

    Raises:
        ExportError: what is there by now may not be replaced, as `check_target` says.
        OSError: it can't be renamed.
    """
    check_target(out, force=force)  # again: another export to the same place may have been quicker
    staging.chmod(0o755)
    for file in staging.iterdir():
        file.chmod(0o644)  # whatever the umask: who serves it may be another user
    if not out.exists():
        staging.rename(out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent)) / out.name
    try:
        out.rename(aside)
        staging.rename(out)
    except BaseException:
        if not out.exists() and aside.exists():
            aside.rename(out)
        raise
    finally:
        if out.exists():  # otherwise the older artifact is all there is
            shutil.rmtree(aside.parent, ignore_errors=True)
