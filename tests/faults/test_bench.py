"""bench/faults.py tells the truth: its table is what happened, and it hears what torch.onnx says of a fault."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import planted
import pytest

pytestmark = pytest.mark.slow

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("faults")


@pytest.mark.parametrize(
    ("net", "words"),
    [(planted.ChildInTrainMode, "says: differs by"), (planted.FewerClasses, "says: ONNX Runtime fails")],
)
def test_it_hears_what_torch_says_and_keeps_it_from_the_terminal(faults: ModuleType, net, words: str, capfd):
    verdict = faults.by_verify(faults.Attempt(faults.NETS[net.__name__]))
    assert verdict.caught
    assert verdict.words.startswith(words)
    assert "".join(capfd.readouterr()) == ""


def test_a_table_of_one_fault(faults: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["faults.py", "--only", "batchbakedin"])
    faults.main()
    _, _, heads, _, good, baked, caught = capsys.readouterr().out.splitlines()
    assert heads.startswith("| at export |")
    assert cells(good) == ["Good", "-", "-", "-", "-"]
    assert cells(baked)[:2] == ["BatchBakedIn", "`dynamic_batch`"]
    assert cells(baked)[2].startswith("`raised: ")
    assert cells(caught) == ["**caught**", *["**1 of 1**"] * 4]


def test_a_false_alarm_and_a_wrong_gate_are_told(faults: ModuleType):
    quiet, loud = {"caught": False, "words": ""}, {"caught": True, "words": "shape"}
    rows = [
        {"name": "Good", "code": "", "verdicts": {"ours": quiet, "theirs": loud}},
        {"name": "X", "code": "finite", "verdicts": {"ours": loud, "theirs": quiet}},
        {"name": "Y", "code": "shape", "verdicts": {"ours": loud, "theirs": quiet}},
    ]
    *_, caught = faults.tables({"tables": {"at export": rows}}).splitlines()
    assert cells(caught) == ["**caught**", "**1 of 2**", "**0 of 2, and a false alarm**"]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
