"""Where a data set lies, and whose it is: one plan, one process at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from gan_client.errors import GanError

from . import arrays
from .arrays import ArrayWriter
from .folder import FolderWriter
from .plan import Entry, Layout, Plan
from .shards import ShardWriter
from .table import TABLE, Table

STATE: Final = "dataset.json"
_BEGUN: Final = f"{STATE}.part"  # all that there is where the disk was full, or the process killed, at the very start


class Writer(Protocol):
    """Puts images on disk, in their order; the same images make the same bytes."""

    @property
    def places(self) -> tuple[str, ...]:
        """Columns of labels.csv that say where an image is."""

    def place(self, entry: Entry) -> tuple[str, ...]:
        """An image's values for these columns."""

    def begin(self) -> int:
        """Make ready for writing; the number of images that are there already."""

    def append(self, entries: list[Entry], pngs: list[bytes]) -> None:
        """Write the next images."""

    def finish(self) -> None:
        """All images are there."""

    def remove(self) -> None:
        """Delete the images of the plan, and nothing else."""


@dataclass(frozen=True)
class Destination:
    """`--out` of a data set."""

    out: Path
    layout: Layout

    @property
    def root(self) -> Path:
        """The folder that is worked in."""
        return self.out.with_name(f"{self.out.name}.part") if self.layout is Layout.NPZ else self.out

    @property
    def table(self) -> Path:
        """labels.csv of a finished data set."""
        return self.out.with_suffix(".labels.csv") if self.layout is Layout.NPZ else self.out / TABLE

    def saved(self, *, force: bool) -> Plan | None:
        """What the data set that is here is made of; None if nothing is here, or, with `force`, a foreign npz file.

        Raises GanError: a folder of something else is never written into.
        """
        state = self.root / STATE
        try:
            if self.layout is Layout.NPZ and self.out.is_dir():
                raise GanError(f"{self.out} is a folder: give another --out for an npz file")
            if state.exists():
                return Plan.loads(state.read_text("utf-8"), str(state))
            if self.layout is Layout.NPZ:
                return None if force and not arrays.is_dataset(self.out) else arrays.plan_of(self.out)
            if self.root.exists() and any(path.name != _BEGUN for path in self.root.iterdir()):
                raise GanError(f"{self.root} exists and is not a data set of gan-client: give another --out")
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise GanError(f"can't read {self.root}: {reason}; give another --out") from error
        return None

    @property
    def is_begun(self) -> bool:
        """Whether there may be images here, of a data set that is not finished."""
        with contextlib.suppress(OSError):
            return (self.root / STATE).exists()
        return False

    def is_finished(self, plan: Plan) -> bool:
        """Whether here is the npz file of `plan`; the other layouts are looked through by their writers."""
        if self.layout is not Layout.NPZ or (self.root / STATE).exists():
            return False
        return arrays.is_dataset(self.out) and arrays.plan_of(self.out) == plan

    def writer(self, plan: Plan) -> Writer:
        """What writes the images of `plan` here."""
        if plan.layout is Layout.NPZ:
            return ArrayWriter(self.root, plan, self.out)
        return (FolderWriter if plan.layout is Layout.FOLDER else ShardWriter)(self.root, plan)

    def work_table(self, writer: Writer) -> Table:
        """labels.csv while the images are drawn."""
        return Table(self.root / TABLE, writer.places)

    def done(self, plan: Plan) -> int:
        """How many images of `plan` are here, from the first on. Raises GanError, OSError."""
        if not (self.root / STATE).exists():
            return 0
        with self.claimed(plan):
            return self.writer(plan).begin()

    @contextlib.contextmanager
    def claimed(self, plan: Plan) -> Iterator[None]:
        """The folder, with `plan` written down, while no other process writes into it. Raises GanError, OSError."""
        self.root.mkdir(parents=True, exist_ok=True)
        with _locked(self.root):
            state = self.root / STATE
            # Between the first look and the lock another process may have begun here.
            if state.exists() and Plan.loads(state.read_text("utf-8"), str(state)) != plan:
                raise GanError(f"another gan-client started another data set in {self.root}: give another --out")
            if not state.exists():
                part = self.root / _BEGUN
                part.write_text(plan.dumps(), "utf-8")
                part.replace(state)
            yield

    def close(self, writer: Writer) -> None:
        """All is written. Of an npz file, labels.csv goes beside it, and the folder that was worked in goes."""
        if self.layout is Layout.NPZ:
            (self.root / TABLE).replace(self.table)
            (self.root / STATE).unlink()
            writer.remove()
            self.root.rmdir()

    def restore(self, plan: Plan) -> None:
        """Beside a finished npz file: labels.csv if it is gone, and no folder that an interruption left."""
        writer = self.writer(plan)
        if not self.table.exists():
            Table(self.table, writer.places).restart((writer.place(entry), entry) for entry in plan.entries())
        if self.root.is_dir():
            with _locked(self.root):
                writer.remove()
                self._forget()
                self.root.rmdir()

    def discard(self, saved: Plan) -> None:
        """Delete the files of the data set `saved` that is here, and no others. Raises OSError."""
        if not self.root.exists():
            return
        with _locked(self.root):
            Destination(self.out, saved.layout).writer(saved).remove()
            self._forget()

    def _forget(self) -> None:
        """Delete what says whose the folder is, and what is in it."""
        for name in (TABLE, f"{TABLE}.part", STATE, _BEGUN):
            (self.root / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process, however it ends. Raises GanError if another has it."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise GanError(
                f"another gan-client is writing into {folder}: wait for it, or give another --out"
            ) from error
        yield
    finally:
        os.close(descriptor)
