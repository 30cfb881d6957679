"""Drawing a data set: from the first image that isn't there to the last."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Final

from gan_client.catalog import model_named
from gan_client.client import GanClient
from gan_client.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    GanError,
    InternalServerError,
    QueueFullError,
    ServiceDeadlineError,
    UnavailableError,
    UnexpectedResponseError,
)
from gan_client.images import Image

from .destination import Destination
from .plan import Entry, Plan

_BATCH_IMAGES: Final = 1024
_BATCH_BYTES: Final = 2**24

# What a service in trouble gives, and its next start mends. Two of these are OSErrors too.
_PASSING: Final = (
    ConnectionFailedError,
    DeadlineExceededError,
    InternalServerError,
    QueueFullError,
    ServiceDeadlineError,
    UnavailableError,
)

ReportFn = Callable[[int], None]
Batch = list[tuple[Entry, bytes]]


@dataclass(frozen=True)
class Built:
    """A finished data set."""

    plan: Plan
    """What it is made of."""

    drawn: int
    """How many of its images were drawn now; the others were there."""


def prepare(destination: Destination, plan: Plan, saved: Plan | None, *, force: bool) -> None:
    """Make sure that what is at `destination`, `saved`, is a part of `plan`, or nothing.

    Raises GanError, naming what differs, if it is another data set and not to be thrown away by `force`.
    """
    if saved is None or saved == plan:
        return
    if not force:
        raise GanError(
            f"{destination.out} is another data set ({'; '.join(saved.differences(plan))}): give another --out, "
            "or --force to replace it"
        )
    try:
        destination.discard(saved)
    except OSError as error:
        raise GanError(f"can't replace {destination.out}: {error.strerror or error}") from error


def build(client: GanClient, destination: Destination, plan: Plan, *, chunk: int, report: ReportFn) -> Built:
    """Draw what is missing of `plan`, and finish the data set.

    Nothing is written before the first images are there. `report` gets the number of images that are done.

    Raises:
        GanError: the images that were written stay, and the same call goes on from them.
    """
    try:
        if destination.is_finished(plan):
            destination.restore(plan)
            return Built(plan, 0)
        done = destination.done(plan)
        report(done)
        with closing(_batches(client, plan, done, chunk)) as batches:
            first = next(batches, None)  # before anything is written: the request may be refused
            with destination.claimed(plan):
                _write(client, destination, plan, done, batches if first is None else chain((first,), batches), report)
    except _PASSING as error:
        raise GanError(f"{error}; run the same command to continue with {destination.out}") from error
    except UnexpectedResponseError:
        _confirm(client, plan)  # where another version ended the stream, this says what to do with a data set
        raise
    except GanError:
        raise
    except OSError as error:
        begun = destination.is_begun
        advice = "what is written is kept, fix it and run the same command again" if begun else "give another --out"
        raise GanError(f"can't write to {destination.out}: {error.strerror or error}; {advice}") from error
    return Built(plan, plan.n - done)


def _write(
    client: GanClient, destination: Destination, plan: Plan, done: int, batches: Iterable[Batch], report: ReportFn
) -> None:
    writer = destination.writer(plan)
    if writer.begin() != done:
        raise GanError(f"another gan-client wrote into {destination.root} in the meantime: run the same command again")
    table = destination.work_table(writer)
    table.restart((writer.place(entry), entry) for entry in plan.entries(0, done))
    for batch in batches:
        _confirm(client, plan)
        entries = [entry for entry, _ in batch]
        writer.append(entries, [png for _, png in batch])
        table.append((writer.place(entry), entry) for entry in entries)
        done += len(batch)
        report(done)
    writer.finish()
    destination.close(writer)


def _batches(client: GanClient, plan: Plan, start: int, chunk: int) -> Generator[Batch, None, None]:
    """The images from `start` on with what is known of them, as many at once as are quick to write."""
    if start == plan.n:
        return
    labels = None if plan.labels is None else (plan.entry(i).label or 0 for i in range(start, plan.n))
    with client.stream(
        plan.n - start, labels, seed=plan.seed + start, truncation=plan.truncation, model=plan.model, chunk=chunk
    ) as images:
        batch: Batch = []
        size = 0
        for entry, image in zip(plan.entries(start), images, strict=True):
            _check(plan, entry, image)
            batch.append((entry, image.png))
            size += len(image.png)
            if len(batch) == _BATCH_IMAGES or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def _check(plan: Plan, entry: Entry, image: Image) -> None:
    if (image.seed, image.label, image.label_name) != (entry.seed, entry.label, entry.label_name):
        raise UnexpectedResponseError(
            f"the service answered with seed {image.seed}, label {image.label} ({image.label_name}) where seed "
            f"{entry.seed}, label {entry.label} ({entry.label_name}) of {plan.model!r} was expected: it has another "
            "generator now"
        )


def _confirm(client: GanClient, plan: Plan) -> None:
    """See that the generator is still the plan's. Asked before images are written, so that all that are there are its.

    Raises GanError.
    """
    now = model_named(client, plan.model).artifact
    if now != plan.artifact:
        raise GanError(
            f"the service has another version of {plan.model!r} now (artifact {(now or 'unknown')[:12]}, not "
            f"{(plan.artifact or 'unknown')[:12]}): the images so far are of the previous one; serve that again and "
            "run the same command to continue, or start over with another --out"
        )
