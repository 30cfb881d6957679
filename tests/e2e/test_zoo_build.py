"""zoo/build.py from a recipe to an artifact with its card; in small, on the embedded digits."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from commands import run_forked

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
settings = ["steps=200", "generator_width=8", "critic_width=8", "sample_every=200", "log_every=10"]
variants = "fp32"
faults = ["It has hardly been trained."]
"""
PLACES = ("--recipes", "recipes.toml", "--out", "made", "--work", "work")


def build(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_forked(str(ROOT / "zoo" / "build.py"), [*PLACES, *arguments], work, os.environ, 500)


def test_a_recipe_becomes_an_artifact_once(
    tmp_path: Path, builder: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes.toml").write_text(RECIPE)
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "made/small"
    folder = tmp_path / "made" / "small"
    assert load_artifact(folder).name == "small"
    figures = json.loads((folder / "quality.json").read_text())
    assert figures["training"]["steps"] == 200
    assert figures["variants"]["fp32"]["images"] == IMAGES
    card = (folder / "README.md").read_text()
    for words in ("that of the digits", "--set steps=200", "It has hardly been trained.", "| class_agreement |"):
        assert words in card
    assert {file.name for file in folder.glob("*.png")} == {"preview.png", "curves.png", "neighbours.png"}

    again = build(tmp_path, "--only", "small")
    assert again.returncode == 0, again.stderr
    assert "$ " not in again.stderr, "everything was there already"
    assert (folder / "README.md").read_text() == card

    (folder / "quality.json").write_text(json.dumps(figures | {"variants": {}, "hosts": {}}))
    (folder / "README.md").write_text(card.replace("It has hardly been trained.", "It is perfect."))
    (images,) = (tmp_path / "work" / "small").glob("fp32-*.npz")
    drawn = images.stat().st_mtime_ns
    judged = build(tmp_path, "--measure")
    assert images.stat().st_mtime_ns > drawn
    assert judged.returncode == 0, judged.stderr
    commands = {line.split()[1] for line in judged.stderr.splitlines() if line.startswith("$ ")}
    assert commands == {"gan-client", "gan-eval"}
    assert json.loads((folder / "quality.json").read_text()) == figures
    assert (folder / "README.md").read_text() == card

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["build.py", *PLACES])
    monkeypatch.setattr(builder, "LARGEST_BYTES", 1000)
    with pytest.raises(SystemExit, match=r"made/small: has .* 1,000 are allowed"):
        builder.main()
    assert list((tmp_path / "made").iterdir()) == [folder], "the old one, and nothing beside it"

    (recipe,) = builder.read_recipes(tmp_path / "recipes.toml", [])
    digest = hashlib.sha256((tmp_path / "work" / "small" / "run" / "ckpt.pt").read_bytes()).hexdigest()
    made = tmp_path / "work" / "small" / "artifact"
    assert builder._is_whole(made, recipe, digest)
    others = load_artifact(made).manifest.provenance.packages | {"onnx": "0"}
    monkeypatch.setattr(builder, "package_versions", lambda: others)
    assert not builder._is_whole(made, recipe, digest), "by other packages"

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
        (RECIPE, ["large"], "'large' is not an artifact of .*; use one of small"),
        (RECIPE.replace("variants", "variant"), [], "'variant' is unknown"),
        (RECIPE.replace("cgan-28", "cgan-29"), [], "preset 'cgan-29' is unknown"),
        (RECIPE.replace("steps=200", "step=20"), [], "--set step: there is no such setting"),
        ("images =", [], "is not TOML"),
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
    from measure import VariantEvaluation, refuse_gap
    from recipe import BuildError

    values = {"class_agreement": None, "precision": 0.8, "recall": 0.8, "frechet_distance": 0.01}
    first = VariantEvaluation("fp32", values, {}, None)
    refuse_gap([first, VariantEvaluation("int8", values | {"recall": 0.73}, {}, None)])
    with pytest.raises(BuildError, match=r"recall is 0\.71 with int8 and 0\.8 with fp32; at most 10%"):
        refuse_gap([first, VariantEvaluation("int8", values | {"recall": 0.71}, {}, None)])


def test_figures_are_of_their_data_and_of_the_host_that_measured_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "zoo")
    import measure
    from recipe import read_recipes

    commands: list[list[str]] = []

    def run(command: list[str]) -> str:
        commands.append(command)
        return json.dumps([{"source": command[1], "frechet_distance": len(commands)}])

    monkeypatch.setattr(measure, "run", run)
    monkeypatch.setattr(measure, "_draw", lambda *_: None)
    artifact = SimpleNamespace(manifest=SimpleNamespace(variants=[SimpleNamespace(name="fp32", sha256="0" * 64)]))
    (tmp_path / "recipes.toml").write_text(RECIPE)
    (recipe,) = read_recipes(tmp_path / "recipes.toml", [])

    def evaluated(host: str, **data: str) -> tuple[int, str]:
        monkeypatch.setattr(measure, "versions", lambda _: {"processor": host})
        (found,) = measure.evaluate(replace(recipe, data=replace(recipe.data, **data)), artifact, tmp_path)
        return found.values["frechet_distance"], found.host["processor"]

    assert evaluated("first") == (1, "first")
    assert evaluated("second") == (1, "first"), "not measured again"
    assert evaluated("second", test="digits#test") == (2, "second")
    assert evaluated("third", source="mnist") == (3, "third")
    assert evaluated("third") == (1, "first")


def test_an_artifact_takes_the_place_of_the_old_one(tmp_path: Path, builder: ModuleType) -> None:
    new, folder, interrupted = tmp_path / ".small.part", tmp_path / "small", tmp_path / ".small.old.part"
    for path, text in ((new, "new"), (folder, "old"), (interrupted, "older")):
        path.mkdir()
        (path / "file").write_text(text)
    builder._put(new, folder)
    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / "file").read_text() == "new"


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, OSError])
def test_an_artifact_that_can_not_take_the_place_leaves_the_old_one(
    tmp_path: Path, builder: ModuleType, monkeypatch: pytest.MonkeyPatch, stopped: type[BaseException]
) -> None:
    old, new = tmp_path / "small", tmp_path / ".small.part"
    for folder in (old, new):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    rename = Path.rename

    def stops(path: Path, target: Path) -> Path:
        if path == new:
            raise stopped
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stops)
    with pytest.raises(stopped):
        builder._put(new, old)
    assert (old / "name").read_text() == "small"
    assert {path.name for path in tmp_path.iterdir()} == {"small", ".small.part"}


def test_the_zoo_by_a_relative_path_is_the_zoo(
    tmp_path: Path, builder: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "zoo.md"
    page.write_text("<!-- figures: written by zoo/build.py -->\nold\n<!-- end of figures -->\n")
    for folder in ("zoo", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "recipes.toml").write_text(RECIPE)
    for name, value in (("HERE", tmp_path / "zoo"), ("PAGE", page), ("build", lambda *_: "made")):
        monkeypatch.setattr(builder, name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["build.py", "--recipes", "recipes.toml", "--out", "elsewhere/../zoo"])
    builder.main()
    assert "old" not in page.read_text()
