"""Run an artifact in a fresh process:
`python -m gan_export.artifact.probe ARTIFACT VARIANT CASES.npz RESULTS.npz PROVIDER [timed]`.

The certificate must speak of what a server will do, so nothing of the exporting process is shared: the file is read
from the disk, with the session options of serving, without torch.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .first_line import first_line
from .providers import CPU, PROVIDERS, Provider
from .reading import ArtifactError, load_artifact
from .runtime import Session, open_session, run_session

SPEED_BATCHES = (1, 64)
SPEED_SECONDS = 0.25


def probe(
    directory: Path, variant: str, cases: Path, results: Path, provider: Provider = CPU, *, timed: bool = False
) -> None:
    """Run every case of an npz (`NAME.z`, `NAME.label`, `NAME.threads`); store `NAME.image`, `NAME.pixels`, and speeds
    if `timed`, which takes half a second more.

    A case that the session refuses is stored as `NAME.error`, so that the certificate can say why.
    """
    artifact = load_artifact(directory)
    session = open_session(artifact, variant, provider=provider)
    sessions = {0: session}
    outputs: dict[str, NDArray[Any]] = {}
    with np.load(cases, allow_pickle=False) as given:
        names = sorted({key.rpartition(".")[0] for key in given.files})
        for name in names:
            z, label = given[f"{name}.z"], given.get(f"{name}.label")
            threads = 0 if provider.is_cuda else int(given.get(f"{name}.threads", 0))  # of a processor
            if threads not in sessions:
                sessions[threads] = open_session(artifact, variant, threads=threads, provider=provider)
            try:
                drawn = run_session(sessions[threads], z, label, pixels=True)
                outputs[f"{name}.image"], outputs[f"{name}.pixels"] = drawn
            except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen unrelated types here
                outputs[f"{name}.error"] = np.array(first_line(error))
        z, label = given[f"{names[0]}.z"][:1], given.get(f"{names[0]}.label")
    for batch in SPEED_BATCHES if timed else ():
        one_label = None if label is None else np.repeat(label[:1], batch)
        outputs[f"speed.{batch}"] = np.array(_images_per_second(session, np.repeat(z, batch, 0), one_label))
    np.savez(results, **outputs)  # type: ignore[arg-type]


def _images_per_second(session: Session, z: NDArray[np.float32], label: NDArray[np.int64] | None) -> float:
    """Median rate over a quarter of a second; 0 for a batch the session refuses."""
    seconds: list[float] = []
    try:
        run_session(session, z, label)  # the first run allocates
        while sum(seconds) < SPEED_SECONDS:
            began = time.perf_counter()
            run_session(session, z, label)
            seconds.append(time.perf_counter() - began)
    except Exception:  # noqa: BLE001 - already stored as the case's error
        return 0.0
    return len(z) / float(np.median(seconds))


if __name__ == "__main__":
    try:
        where, name, given, made, word, *rest = sys.argv[1:]
        probe(Path(where), name, Path(given), Path(made), PROVIDERS[word], timed=rest == ["timed"])
    except ArtifactError as problem:
        print(f"{problem.code}\t{problem}", file=sys.stderr)  # what candidate.py reads
        sys.exit(1)
