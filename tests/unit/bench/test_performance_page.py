"""`make bench`: docs/performance.md comes from the results on disk, and a benchmark that fails stops no other."""

import importlib
import json
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
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


def call(performance: ModuleType, monkeypatch: pytest.MonkeyPatch, *options: str, failing: str = "") -> str:
    """The page, after a run in which the benchmarks named in `failing` are said to have failed."""
    monkeypatch.setattr(sys, "argv", ["performance.py", *options])
    with pytest.raises(SystemExit) if failing else nullcontext() as ended:
        performance.main()
    if failing:
        # A text is the line on stderr, and 1 the exit code.
        assert ended.value.code == f"bench/performance.py: failed: {failing}"
    return (performance.ROOT / "docs" / "performance.md").read_text()


def test_results_become_tables_and_failures_are_told(
    performance: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(performance, "serving", "sys.exit('wrk is missing')")
    program(performance, "client", "print('no JSON')")
    program(performance, "training", f"print(json.dumps({FOUND!r}))")
    page = call(performance, monkeypatch, "--only", "serving", "client", "training", failing="serving, client")
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
    page = call(performance, monkeypatch, "--only", "training", failing="training")
    assert "failed: no memory** What follows is from the previous run." in page
    assert "1.50x (1.25 to 1.75)" in page
    program(performance, "training", f"print(json.dumps({FOUND!r}))")
    assert "failed" not in call(performance, monkeypatch, "--only", "training")


@pytest.mark.parametrize("found", [{}, [], {**FOUND, "results": []}, {**FOUND, "results": [{"case": "dcgan"}]}])
def test_json_of_another_shape_is_that_benchmarks_failure(
    performance: ModuleType, monkeypatch: pytest.MonkeyPatch, found: object
) -> None:
    program(performance, "training", f"print(json.dumps({FOUND!r}))")
    call(performance, monkeypatch, "--only", "training")
    program(performance, "training", f"print(json.dumps({found!r}))")
    program(performance, "client", "sys.exit('it came to this one')")
    page = call(performance, monkeypatch, "--only", "training", "client", failing="training, client")
    assert "failed: its JSON can't be shown: " in page
    assert "1.50x (1.25 to 1.75)" in page, "from the run before"
    assert "failed: it came to this one" in page
    assert call(performance, monkeypatch, "--write-only") == page


def test_the_page_in_docs_is_that_of_the_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "bench")
    page = importlib.import_module("report.page")
    page.write(tmp_path / "performance.md", ROOT / "bench" / "results")
    there, docs = (tmp_path / "performance.md").read_text(), ROOT / "docs"
    assert (docs / "performance.md").read_text() == there, "python bench/performance.py --write-only writes it"
    plots = {each.name for each in (docs / "images").glob("performance-*.png")}
    assert plots == {each.name for each in (tmp_path / "images").glob("*.png")}


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


def test_a_benchmark_that_does_not_end_is_stopped(
    performance: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class SinceItWorks(threading.Timer):
        """Counts from when the program is at work: before, a busy machine may not have come to Python's handlers."""

        def run(self) -> None:
            while not (tmp_path / "working").exists() and not self.finished.wait(0.01):
                pass
            super().run()

    monkeypatch.setattr(performance.threading, "Timer", SinceItWorks)
    # Short sleeps: a signal that comes just before a sleep is heard after it.
    program(performance, "training", "import time\nopen('working', 'w').close()\nwhile True: time.sleep(0.01)")
    failure = performance.run("training", quick=False, longest=0)
    assert "KeyboardInterrupt" in failure.reason
