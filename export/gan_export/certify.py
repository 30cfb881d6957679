"""The certificate of an export: what the final file gives, beside what the generator gave before it was exported."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from .artifact import Manifest
from .artifact.array_file import ArrayFile, read_arrays
from .artifact.candidate import CertificationError, Speeds, run_candidate
from .artifact.cases import Cases
from .artifact.certificate import Certificate, Options, VariantCertificate
from .artifact.evidence import Evidence, Reference
from .artifact.first_line import first_line
from .artifact.providers import CPU, Provider
from .artifact.verify import summarise
from .reference import ReferenceRunner
from .untrusted.temporary import no_room

MOVED: Final = 1e-3  # pixels on [-1, 1]: far more than rounding, far less than a neighbour's influence
EXACT_VALUES: Final = 2**20
"""Pixels that are drawn in float64 at once: convolutions take several times their memory there."""


def ask_reference(
    runner: ReferenceRunner, cases: Cases, progress: Callable[[int, int], None] = lambda *_: None
) -> Reference:
    """Draw the cases that are compared with the reference, and look whether it keeps what the certificate promises.

    Args:
        progress: told (images so far, images in all); one in float64 counts as another.

    Raises:
        CertificationError: the reference fails on one of them, or there is no room for the pixels.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="gan-export-") as folder:
            return _Asking(runner, cases, Path(folder), progress).reference()
    except OSError as error:
        reason = no_room(error) or f"can't be stored: {error.strerror or error}"
        raise CertificationError(f"the pixels of the generator itself {reason}") from error


class _Asking:
    """Draws with a reference; the pixels are gathered in files, as those of large images are gigabytes."""

    def __init__(
        self, runner: ReferenceRunner, cases: Cases, folder: Path, progress: Callable[[int, int], None]
    ) -> None:
        self._runner, self._progress = runner, progress
        self._cases = {name: case for name, case in cases.items() if case.compared}
        self._float32, self._float64 = ArrayFile(folder / "float32"), ArrayFile(folder / "float64")
        self._total = sum(len(case.z) for case in self._cases.values()) * (2 if runner.exact else 1)
        self._done = 0

    def reference(self) -> Reference:
        with self._float32, self._float64:
            changed, moved = self._draw()
            whole = self._draw_exactly(at_once=changed > 0 or moved > 0)
        float64 = read_arrays(self._float64.path) if whole else {}
        return Reference(read_arrays(self._float32.path), float64, self._runner.in_train_mode, changed, moved)

    def _draw(self) -> tuple[int, int]:
        """Returns pixels that differ where a batch is drawn again, and images that do where a part of one is."""
        changed = moved = 0
        for name, case in self._cases.items():
            try:
                pixels = self._runner.draw(case.z, case.label)
            except Exception as error:
                raise CertificationError(
                    f"the generator itself fails on {name}, a batch of {len(case.z)}: {first_line(error)}",
                    code="dynamic_batch",
                ) from error
            if case.copy_of in self._float32:
                first = self._float32[case.copy_of]
                differs = np.abs(pixels - first[case.start : case.start + len(case.z)]) > MOVED
                if len(first) == len(case.z):
                    changed += int(differs.sum())
                else:
                    moved += int(differs.reshape(len(differs), -1).any(axis=1).sum())
            self._float32.add(name, [pixels])
            self._tell(len(pixels))
        return changed, moved

    def _draw_exactly(self, *, at_once: bool) -> bool:
        """Draws in float64, a few large images at a time if not `at_once`; returns whether all could be drawn."""
        for name, case in self._cases.items():
            n, parts = len(case.z), []
            step = n if at_once else max(1, EXACT_VALUES // max(1, prod(self._float32[name].shape[1:])))
            for start in range(0, n if self._runner.exact else 0, step):
                some = slice(start, start + step)
                part = self._runner.draw_exactly(case.z[some], None if case.label is None else case.label[some])
                if part is not None:
                    parts.append(part)
                    self._tell(len(part))
            if not self._runner.exact:
                return False
            self._float64.add(name, parts)
        return True

    def _tell(self, images: int) -> None:
        self._done += images
        self._progress(self._done, self._total)


def certify_variant(
    directory: Path,
    manifest: Manifest,
    variant: str,
    cases: Cases,
    reference: Reference,
    options: Options,
    provider: Provider = CPU,
) -> tuple[VariantCertificate, Speeds]:
    """Compare one variant on disk with the reference; returns the measurements and the speeds.

    Raises:
        CertificationError: the file could not be run at all.
    """
    results, speeds = run_candidate(directory, variant, cases, provider, timed=True)
    evidence = Evidence(manifest, cases, results, reference, variant, provider)
    return summarise(evidence, options), speeds


def certificate_of(
    manifest: Manifest, results: list[VariantCertificate], reference: str, options: Options
) -> Certificate:
    """The document that is stored."""
    return Certificate(
        manifest_identity=manifest.identity(),
        reference=reference,
        options=options,
        results=results,
        variants_sha256=manifest.variants_digest(),
    ).sealed()
