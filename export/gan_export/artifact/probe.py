"""Run an artifact in a fresh process:
`python -m gan_export.artifact.probe ARTIFACT VARIANT CASES.npz FOLDER PROVIDER [timed]`.

The certificate must speak of what a server will do, so nothing of the exporting process is shared: the file is read
from the disk, with the session options of serving, without torch.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .array_file import ArrayFile
from .candidate import ARRAYS, REPORT
from .first_line import first_line
from .providers import CPU, PROVIDERS, Provider
from .reading import ArtifactError, load_artifact
from .runtime import Session, open_session, run_session

SPEED_BATCHES = (1, 64)
SPEED_TURNS = 5  # of all batch sizes, one after another: what else the host does may last longer than one
TURN_SECONDS = 0.05  # at least, of one batch size
SPEED_SECONDS = 2.0  # after which no further turn begins


def probe(
    directory: Path, variant: str, cases: Path, folder: Path, provider: Provider = CPU, *, timed: bool = False
) -> None:
    """Run every case of an npz (`NAME.z`, `NAME.label`, `NAME.threads`); store `NAME.image` and `NAME.pixels` in
    `folder` as ARRAYS, and what is not an array in REPORT: `timed`, which takes half a second more, also the speeds of
    the fastest and the slowest turn.

    A case that the session refuses is in the report's errors, so that the certificate can say why.
    """
    artifact = load_artifact(directory)
    session = open_session(artifact, variant, provider=provider)
    sessions = {0: session}
    errors: dict[str, str] = {}
    with np.load(cases, allow_pickle=False) as given, ArrayFile(folder / ARRAYS) as arrays:
        names = sorted({key.rpartition(".")[0] for key in given.files})
        for name in names:
            z, label = given[f"{name}.z"], given.get(f"{name}.label")
            threads = 0 if provider.is_cuda else int(given.get(f"{name}.threads", 0))  # of a processor
            if threads not in sessions:
                sessions[threads] = open_session(artifact, variant, threads=threads, provider=provider)
            try:
                drawn = run_session(sessions[threads], z, label, pixels=True)
                image, pixels = (np.atleast_1d(part) for part in drawn)  # a single number has the wrong shape, too
                if image.dtype.hasobject or pixels.dtype.hasobject:
                    raise TypeError("it gives text or other objects, not numbers")
            except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen unrelated types here
                errors[name] = first_line(error)
            else:
                arrays.add(f"{name}.image", [image])
                arrays.add(f"{name}.pixels", [pixels])
        z, label = given[f"{names[0]}.z"][:1], given.get(f"{names[0]}.label")
    rates = _rates(session, z, label) if timed else {}
    report = {
        "errors": errors,
        "speed": {str(batch): max(turns) for batch, turns in rates.items()},
        "slowest": {str(batch): min(turns) for batch, turns in rates.items()},
    }
    (folder / REPORT).write_text(json.dumps(report))


def _rates(session: Session, z: NDArray[np.float32], label: NDArray[np.int64] | None) -> dict[int, list[float]]:
    """Images per second of each turn, by batch size; a batch that the session refuses is left out."""
    feeds = {
        batch: (np.repeat(z, batch, 0), None if label is None else np.repeat(label[:1], batch))
        for batch in SPEED_BATCHES
    }
    rates: dict[int, list[float]] = {}
    for batch, feed in feeds.items():
        with contextlib.suppress(Exception):  # already stored as the case's error
            run_session(session, *feed)  # the first run allocates
            rates[batch] = []
    began = time.perf_counter()
    for _ in range(SPEED_TURNS):
        for batch, turns in rates.items():
            turns.append(_images_per_second(session, *feeds[batch]))
        if time.perf_counter() - began > SPEED_SECONDS:
            break
    return rates


def _images_per_second(session: Session, z: NDArray[np.float32], label: NDArray[np.int64] | None) -> float:
    """Median rate of a turn."""
    seconds: list[float] = []
    while sum(seconds) < TURN_SECONDS:
        began = time.perf_counter()
        run_session(session, z, label)
        seconds.append(time.perf_counter() - began)
    return len(z) / float(np.median(seconds))


if __name__ == "__main__":
    try:
        where, name, given, made, word, *rest = sys.argv[1:]
        probe(Path(where), name, Path(given), Path(made), PROVIDERS[word], timed=rest == ["timed"])
    except ArtifactError as problem:
        print(f"{problem.code}\t{problem}", file=sys.stderr)  # what candidate.py reads
        sys.exit(1)
