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
    _, _, heads, good, baked, caught, rule, *_ = capsys.readouterr().out.splitlines()
    assert heads.split("  ")[0] == "at export"
    assert good.split() == ["Good", "-", "-", "-", "-"]
    assert baked.split()[:3] == ["BatchBakedIn", "dynamic_batch", "raised:"]
    assert caught.split() == ["caught", *["1", "of", "1"] * 4]
    assert rule.endswith(": all")


def test_a_false_alarm_and_a_wrong_gate_are_told(faults: ModuleType):
    quiet, loud = faults.Verdict(False), faults.Verdict(True, "shape")
    rows = [faults.Row("Good", "", {"a": quiet, "b": loud}), faults.Row("X", "finite", {"a": loud, "b": quiet})]
    assert faults.total(rows, "a") == "1 of 1"
    assert faults.total(rows, "b") == "0 of 1, and a false alarm"
    assert faults.judge_ours(rows) == "not X"
    assert faults.judge_ours(rows[:1]) == "all"
