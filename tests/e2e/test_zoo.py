"""The zoo: what is in it keeps what its cards say, and a bare `bentoml serve` serves it."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from toy_artifact import write_artifact
from waiting import until

from gan_export.artifact import load_artifact

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / "zoo"
NAMES = list(tomllib.loads((ZOO / "recipes.toml").read_text())["artifact"])
LARGEST_BYTES = 2_500_000
LARGEST_GAP = 0.10  # between int8 and float32, relative
SECTIONS = ["Data", "Recipe", "Quality", "Curves", "Samples", "Nearest neighbours", "Known faults", "Certificate"]
SOON = 30.0  # seconds until the service has a new artifact, on a busy machine

RunFn = Callable[..., subprocess.CompletedProcess[str]]


def test_every_recipe_is_there_and_nothing_else() -> None:
    assert sorted(NAMES) == sorted(manifest.parent.name for manifest in ZOO.glob("*/manifest.json"))


@pytest.mark.parametrize("name", NAMES)
def test_an_artifact_is_small_and_passes_its_certificate(name: str, run_command: RunFn, tmp_path: Path) -> None:
    files = list((ZOO / name).iterdir())
    assert sum(file.stat().st_size for file in files) <= LARGEST_BYTES
    assert [variant.name for variant in load_artifact(ZOO / name).manifest.variants] == ["fp32", "int8"]
    done = run_command("gan-verify", ZOO / name, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_all_and_its_figures_are_those_that_were_measured(name: str) -> None:
    folder = ZOO / name
    card = (folder / "README.md").read_text("utf-8")
    assert re.findall("^## (.*)$", card, re.MULTILINE) == SECTIONS
    assert f"make zoo ONLY={name}" in card
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", card)
    assert sorted(pictures) == ["curves.png", "neighbours.png", "preview.png"]
    for picture in pictures:
        assert (folder / picture).is_file()
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|usr|mnt)/", card), "a path of the machine that made it"
    figures = json.loads((folder / "quality.json").read_text("utf-8"))
    exact, int8 = figures["variants"]["fp32"], figures["variants"]["int8"]
    assert exact["images"] == int8["images"] == 10_000
    for measure in ("frechet_distance", "precision", "recall", "class_agreement"):
        if exact[measure] is None:  # no class can be asked for
            assert load_artifact(folder).manifest.class_names is None
            continue
        row = f"| {measure} | {exact[measure]:.4g} | {int8[measure]:.4g} | {exact[f'real_{measure}']:.4g} |"
        assert row in card
        assert int8[measure] == pytest.approx(exact[measure], rel=LARGEST_GAP)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_what_its_figures_make_and_calls_nothing_a_fault_that_is_better_than_real(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ZOO)
    from card import write_card
    from recipe import read_recipes

    (recipe,) = read_recipes(ZOO / "recipes.toml", [name])
    card, figures = (ZOO / name / "README.md").read_text("utf-8"), json.loads((ZOO / name / "quality.json").read_text())
    assert write_card(recipe, card, figures) == card
    exact, faults = figures["variants"]["fp32"], card.partition("## Known faults\n")[2].partition("\n## ")[0]
    worse = {
        "The Frechet distance is": exact["frechet_distance"] > exact["real_frechet_distance"],
        "It covers": exact["recall"] < exact["real_recall"],
        "look like no real test image": exact["precision"] < exact["real_precision"],
    }
    assert {words: words in faults for words in worse} == worse


def test_the_page_has_the_figures_of_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ZOO)
    from card import with_table

    page = (ROOT / "docs" / "zoo.md").read_text("utf-8")
    assert with_table(page, [ZOO / name for name in NAMES]) == page, "zoo/build.py writes them"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a fresh clone has, in short: no models/."""
    monkeypatch.delenv("GAN_MODELS", raising=False)
    for part in ("serving", "export", "clients", "zoo"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "bentofile.yaml", tmp_path)
    return tmp_path


def names_and_default(url: str) -> tuple[list[str], str]:
    found = httpx.get(f"{url}/models").json()["models"]
    (default,) = (model["name"] for model in found if model["default"])
    return [model["name"] for model in found], default


def test_a_bare_serve_serves_the_zoo_and_then_what_comes_into_models(
    serve: Callable, checkout: Path, run_command: RunFn
) -> None:
    with serve(cwd=checkout, reload_seconds=0.2) as service:
        assert names_and_default(service.url) == (sorted(NAMES), "mnist-cgan")
        for name in NAMES:
            answer = httpx.post(f"{service.url}/generate", json={"model": name, "format": "png"})
            assert answer.status_code == 200, answer.text
        done = run_command("gan-client", "sample", "--n", 64, "--label", 7, "--url", service.url, cwd=checkout)
        assert done.returncode == 0, done.stderr
        assert len(list((checkout / "samples").glob("*seed*.png"))) == 64

        making = write_artifact(checkout / "models" / ".making", name="mine")
        making.rename(checkout / "models" / "mine")
        mine = (sorted([*NAMES, "mine"]), "mine")
        until(lambda: names_and_default(service.url) == mine, "the new artifact is served by default", seconds=SOON)
        assert "ERROR" not in service.log.read_text()


def test_models_that_are_named_take_the_place_of_the_zoo(serve: Callable, checkout: Path) -> None:
    write_artifact(checkout / "elsewhere" / "mine", name="mine")
    with serve(cwd=checkout, models="elsewhere") as service:
        assert names_and_default(service.url) == (["mine"], "mine")


def test_models_that_are_named_must_be_there(checkout: Path, run_command: RunFn) -> None:
    env = {"GAN_MODELS": "models", "BENTOML_HOME": str(checkout)}
    done = run_command("bentoml", "serve", "--port", "0", cwd=checkout, env=env)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"bentoml serve: no generator to serve: there is no artifact in {checkout / 'models'};")
