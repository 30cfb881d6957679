"""zoo/build.py from a recipe to an artifact with its card; in small, on the embedded digits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gan_export.artifact import load_artifact

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 200
RECIPE = f"""
images = {IMAGES}
[data.digits]
source = "digits"
what = "Handwritten digits"
licence = "that of the digits"
[artifact.small]
preset = "cgan-28"
data = "digits"
settings = ["steps=20", "generator_width=8", "critic_width=8", "sample_every=20", "log_every=5"]
variants = "fp32"
faults = ["It has hardly been trained."]
"""


def build(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ("--recipes", "recipes.toml", "--out", "made", "--work", "work")
    command = [sys.executable, str(ROOT / "zoo" / "build.py"), *where, *arguments]
    return subprocess.run(command, cwd=work, env=os.environ, capture_output=True, text=True, timeout=500, check=False)


def test_a_recipe_becomes_an_artifact_once(tmp_path: Path) -> None:
    (tmp_path / "recipes.toml").write_text(RECIPE)
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "made/small"
    folder = tmp_path / "made" / "small"
    assert load_artifact(folder).name == "small"
    figures = json.loads((folder / "quality.json").read_text())
    assert figures["training"]["steps"] == 20
    assert figures["variants"]["fp32"]["images"] == IMAGES
    card = (folder / "README.md").read_text()
    for words in ("that of the digits", "--set steps=20", "It has hardly been trained.", "| class_agreement |"):
        assert words in card
    assert {file.name for file in folder.glob("*.png")} == {"preview.png", "curves.png", "neighbours.png"}

    again = build(tmp_path, "--only", "small")
    assert again.returncode == 0, again.stderr
    assert "$ " not in again.stderr, "everything was there already"
    assert (folder / "README.md").read_text() == card

    other = RECIPE.replace("generator_width=8", "generator_width=16")
    (tmp_path / "recipes.toml").write_text(other)
    refused = build(tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        "zoo/build.py: work/small/run/ckpt.pt: generator_width is 8 there and 16 in the recipe"
    )


@pytest.mark.parametrize(
    ("recipe", "only", "words"),
    [
        (RECIPE, ["large"], "'large' is no artifact of .*; use one of small"),
        (RECIPE.replace("variants", "variant"), [], "'variant' is unknown"),
        (RECIPE.replace("cgan-28", "cgan-29"), [], "preset 'cgan-29' is unknown"),
        (RECIPE.replace("steps=20", "step=20"), [], "--set step: there is no such setting"),
        ("images =", [], "is no TOML"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, only: list[str], words: str
) -> None:
    monkeypatch.syspath_prepend(ROOT / "zoo")
    from recipe import BuildError, read_recipes

    path = tmp_path / "recipes.toml"
    path.write_text(recipe)
    with pytest.raises(BuildError, match=words) as caught:
        read_recipes(path, only)
    assert "\n" not in str(caught.value)


def test_a_variant_that_is_far_from_the_first_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "zoo")
    from measure import Judged, refuse_gap
    from recipe import BuildError

    values = {"class_agreement": None, "precision": 0.8, "recall": 0.8, "frechet_distance": 0.01}
    first = Judged("fp32", values, None)
    refuse_gap([first, Judged("int8", values | {"recall": 0.73}, None)])
    with pytest.raises(BuildError, match=r"recall is 0\.71 with int8 and 0\.8 with fp32; at most 10%"):
        refuse_gap([first, Judged("int8", values | {"recall": 0.71}, None)])
