"""The candidate's process: what it is given, and what is said of one that fails."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import PYTHON
from toy_artifact import DIM, write_artifact

from gan_export.artifact import candidate
from gan_export.artifact.candidate import CertificationError, Speeds, run_candidate
from gan_export.artifact.cases import Case


def case_of(dim: int = DIM, **known: Any) -> Case:
    return Case(np.ones((2, dim), np.float32), None, **known)


def test_it_is_given_the_cases_and_nothing_of_the_folder_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    artifact, here, given = write_artifact(tmp_path / "toy"), tmp_path / "here", {}
    here.mkdir()
    (here / "numpy.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "executable", PYTHON)  # one that has loaded nothing
    start = candidate.subprocess.run

    def kept(command: list[str], **options: Any) -> object:
        with np.load(command[command.index("fp32") + 1]) as stored:
            given.update(stored)
        return start(command, **options)

    monkeypatch.setattr(candidate.subprocess, "run", kept)
    results, speeds = run_candidate(artifact, "fp32", {"a": case_of(), "b": case_of(threads=1), "c": case_of(dim=3)})
    assert (given["a.z"].shape, given["c.z"].shape, int(given["b.threads"])) == ((2, DIM), (2, 3), 1)
    assert {"a.threads", "a.label"}.isdisjoint(given)
    assert np.array_equal(results["a"].pixels, results["b"].pixels)
    assert (results["a"].image.shape, results["a"].error) == ((2, 1, 8, 8), None)
    assert "INVALID_ARGUMENT : Got invalid dimensions for input: z" in results["c"].error
    assert speeds == Speeds()  # nobody asked


def test_what_the_process_refuses_has_the_code_that_it_says(tmp_path: Path):
    artifact = write_artifact(tmp_path / "toy")
    (artifact / "generator.onnx").write_bytes(b"another")
    with pytest.raises(CertificationError, match=r"^the exported graph can't be run: .*generator\.onnx") as caught:
        run_candidate(artifact, "fp32", {"a": case_of()})
    assert caught.value.code == "digest"
    assert "\t" not in str(caught.value)


@pytest.mark.parametrize(
    ("script", "said"), [("exit 7", "exit code 7"), ("echo first >&2; echo last >&2; exit 7", "last")]
)
def test_a_process_that_ends_otherwise_is_told_by_its_last_line(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(CertificationError, match=f"^the exported graph can't be run: {said}$") as caught:
        run_candidate(tmp_path, "fp32", {"a": case_of()})
    assert caught.value.code == "unloadable"


def test_the_spread_is_that_of_the_batch_size_that_varies_most():
    assert Speeds().spread == 1
    assert Speeds({"1": 10.0, "64": 90.0}, {"1": 5.0, "64": 30.0}).spread == 3
    assert Speeds({"1": 0.1, "64": 9.0}, {"1": 0.0, "64": 6.0}).spread == 1.5  # slower than a figure can say
