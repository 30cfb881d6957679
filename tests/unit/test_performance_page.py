"""`make bench`: docs/performance.md comes from the results on disk, and a benchmark that fails stops no other."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """\
import json, sys
print("working", file=sys.stderr)
{body}
"""
FOUND = {
    "torch": "2",
    "threads": 2,
    "device": "cpu",
    "rounds": 3,
    "results": [
        {
            **{"case": "dcgan", "precision": "bf16", "ours": 1500.0, "plain": 1000.0, "ratio": 1.5},
            **{"lowest": 1.25, "highest": 1.75, "loading": 3e6},
            **{"memory_ours": 400.0, "memory_plain": 500.0, "memory_before": 200.0},
        }
    ],
}


@pytest.fixture
def performance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """bench/performance.py, which runs the programs of a folder of its own."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    module = importlib.import_module("performance")
    (tmp_path / "bench").mkdir()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "BENCH", tmp_path / "bench")
    monkeypatch.setattr(module, "TRIAL", tmp_path / "build")
    return module


def program(performance: ModuleType, name: str, body: str) -> None:
    (performance.BENCH / f"{name}.py").write_text(PROGRAM.format(body=body))


def call(performance: ModuleType, monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    monkeypatch.setattr(sys, "argv", ["performance.py", *options])
    performance.main()
    return (performance.ROOT / "docs" / "performance.md").read_text()


def test_results_become_tables_and_failures_are_told(
    performance: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(performance, "serving", "sys.exit('wrk is missing')")
    program(performance, "client", "print('no JSON')")
    program(performance, "training", f"print(json.dumps({FOUND!r}))")
    page = call(performance, monkeypatch, "--only", "serving", "client", "training")
    assert "failed: wrk is missing" in page
    assert "it printed no JSON" in page
    assert "| dcgan | bf16 | 1,500 | 1,000 | 1.50x (1.25 to 1.75) | 3,000,000 | 400 | 500 | 200 |" in page
    assert "`make bench ONLY=graphs` gets one" in page
    assert (tmp_path / "docs" / "images" / "performance-training.png").stat().st_size > 1000

    (tmp_path / "docs" / "performance.md").unlink()
    assert call(performance, monkeypatch, "--write-only") == page


def test_a_failure_keeps_the_result_of_the_run_before(performance: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    program(performance, "training", f"print(json.dumps({FOUND!r}))")
    call(performance, monkeypatch, "--only", "training")
    program(performance, "training", "sys.exit('no memory')")
    page = call(performance, monkeypatch, "--only", "training")
    assert "failed: no memory** What follows is from the run before." in page
    assert "1.50x (1.25 to 1.75)" in page
    program(performance, "training", f"print(json.dumps({FOUND!r}))")
    assert "failed" not in call(performance, monkeypatch, "--only", "training")


def test_what_was_measured_quickly_stays_out_of_docs(
    performance: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(performance, "training", f"assert sys.argv[1:] == ['--quick', '--json']; print(json.dumps({FOUND!r}))")
    monkeypatch.setattr(sys, "argv", ["performance.py", "--only", "training", "--quick"])
    performance.main()
    assert not (tmp_path / "docs").exists()
    assert not (tmp_path / "bench" / "results").exists()
    assert "Quick settings" in (tmp_path / "build" / "performance.md").read_text()
    run = json.loads((tmp_path / "build" / "results" / "training.json").read_text())["run"]
    assert run["command"] == "python bench/training.py --quick --json"
    assert run["machine"]["cores"] > 0


def test_a_benchmark_that_does_not_end_is_stopped(performance: ModuleType) -> None:
    program(performance, "training", "import time; time.sleep(600)")
    failure = performance.run("training", quick=False, longest=2)
    assert "KeyboardInterrupt" in failure.reason
