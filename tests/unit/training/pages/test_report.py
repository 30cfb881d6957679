"""report.html as a reader's browser gets it: complete, self-contained, escaped, whatever the history holds."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_training.checkpoint import CheckpointError
from gan_training.config import TrainConfig
from gan_training.pages.curves import Annotation, draw_picture
from gan_training.pages.report import GRIDS, RunRecord, read_grids, settings_of, versions, write_report
from gan_training.pages.series import POINTS, thin
from gan_training.watch.alarm import Alarm

LARGEST_PAGE = 3_000_000  # bytes, of a run of 100,000 steps
VOID = {"meta", "img", "input", "br"}
EVIL = "<script>alert('$x$')</script>--><b>\"&"


class Page(HTMLParser):
    """What a page shows and what it would fetch; fails on tags that don't close."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def plots(self) -> list[str]:
        return [str(svg["aria-label"]) for svg in self.all("svg")]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Page]:
    """`write(field=value, ...)`: the page of a small run with these fields instead."""

    def make(**changes: Any) -> Page:
        fields: dict[str, Any] = {
            "config": TrainConfig.for_type("cgan", "digits"),
            "description": "what was trained",
            "step": 100,
            "seconds": 61.0,
            "finished": "finished",
            "failed": False,
            "verdict": "healthy",
            "history": [line(step) for step in range(20, 101, 20)],
            "alarms": [],
            "advice": [],
            "samples": tmp_path / "samples",
            "best": None,
            "pairs": None,
            "versions": {"torch": "9.9"},
        }
        write_report(tmp_path / "report.html", RunRecord(**(fields | changes)))
        return Page(tmp_path / "report.html")

    return make


def line(step: int, **more: float) -> dict[str, float]:
    losses = {"critic_loss": 1 + step / 1000, "generator_loss": 2.0, "real_accuracy": 0.8, "fake_accuracy": 0.7}
    return {"step": step, "seconds": step / 10, "images_per_second": 400.0} | losses | more


def draw_samples(folder: Path, steps: list[int]) -> None:
    folder.mkdir()
    for step in steps:
        Image.new("L", (20, 10), step % 256).save(folder / f"step_{step:07d}.png")


def test_page_tells_everything_and_fetches_nothing(write: Callable[..., Page], tmp_path: Path) -> None:
    draw_samples(tmp_path / "samples", [50, 100])
    best = line(60, frechet_distance=1.25)
    page = write(
        verdict="the verdict",
        finished="stopped at step 100",
        history=[line(20), best, line(80, diversity=0.5, frechet_distance=1.75), line(100, photon_flux=3.5)],
        alarms=[Alarm(80, "collapse", "recall fell")],
        advice=["too few images"],
        best=best,
        pairs=Image.new("RGB", (30, 30)),
    )
    for text in ("the verdict", "Stopped at step 100", "what was trained", "collapse", "recall fell", "too few images"):
        assert text in page.text
    for text in ("1.25", "1.75", "torch", "9.9", "Step 50", "step 60"):
        assert text in page.text
    titles = [plot.split(" by step")[0] for plot in page.plots()]
    assert titles == ["Losses", "Critic accuracy", "Diversity", "Frechet distance", "Speed", "photon flux"]
    assert "critic loss: 1.1 at step 100, from 1.02 to 1.1" in page.plots()[0]
    assert "1 collapse" in page.source.split("</svg>")[0]
    assert len(page.all("img")) == 4  # two grids, the pairs, and the viewer that the script fills
    for _, attributes in page.tags:
        assert not {"onload", "onerror", "onclick"} & set(attributes)
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert str(attributes.get(name) or "#").startswith(("data:image/", "#"))
    assert "@import" not in page.source
    assert not re.search(r"url\((?!#)", page.source)


def test_pictures_and_tables_are_labelled(write: Callable[..., Page], tmp_path: Path) -> None:
    draw_samples(tmp_path / "samples", [50, 100])
    page = write(best=line(60, recall=0.5), history=[line(60, recall=0.5)], pairs=Image.new("L", (8, 8)))
    images = [image for image in page.all("img") if image.get("src")]
    assert images
    assert all(image.get("alt") for image in images)
    assert page.all("svg")
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert page.all("th")
    assert all(header["scope"] in ("row", "col") for header in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(page.all("h1")) == 1


@pytest.mark.parametrize(
    ("history", "plots"),
    [
        ([], 0),
        ([line(20)], 3),
        ([{"step": 20.0}], 0),
        ([{"critic_loss": 1.0}], 0),
        ([line(20, critic_loss=math.nan, generator_loss=math.inf), line(40, r1=-math.inf)], 3),
        ([line(20, critic_loss=1e300, real_accuracy=math.nan), line(40, generator_loss=-1e300)], 3),
        ([line(step, critic_loss=math.nan, r1=math.nan) for step in range(500)], 3),
        ([line(20, r1=0.01), line(40, r1=0.02), line(60, r1=1e9)], 4),
    ],
    ids=["none", "one", "empty", "no step", "not finite", "huge", "all NaN", "span"],
)
def test_any_history_gives_a_page(write: Callable[..., Page], history: list[dict[str, float]], plots: int) -> None:
    page = write(history=history, best=history[0] if history else None, step=len(history))
    assert len(page.plots()) == plots
    assert "Configuration" in page.text
    assert not re.search(r"\b(nan|inf)\b|e\+300", "".join(page.plots()))
    for drawing in re.findall(r"<svg.*?</svg>", page.source, re.DOTALL):
        ElementTree.fromstring(drawing.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1))
        assert not re.search(r' d="[^"]*(nan|inf)', drawing)


@pytest.mark.parametrize(("history", "rows"), [([], 1), ([line(20)], 1), ([line(20, r1=0.01, recall=math.nan)], 2)])
def test_the_plots_are_one_picture_too(history: list[dict[str, float]], rows: int) -> None:
    picture = draw_picture(history, 20, [Annotation(10, "1", "1 collapse", True)])
    width, height = picture.size
    assert width > 1000
    assert height / width == pytest.approx(rows * 164 / 780, abs=0.01)


def test_everything_is_escaped(write: Callable[..., Page]) -> None:
    page = write(
        config=TrainConfig.for_type("cgan", f"folder:{EVIL}"),
        description=EVIL,
        verdict=EVIL,
        finished=EVIL,
        history=[line(20, **{EVIL: 1.0})],
        alarms=[Alarm(1, EVIL, EVIL)],
        advice=[EVIL],
        versions={EVIL: EVIL},
    )
    assert f"1 {EVIL}" in page.text  # the label in the plot, where $x$ is no formula
    assert "<script>alert" not in page.source
    assert len(page.all("script")) == len(page.all("b")) == 0  # the page's own script comes with samples only


def test_settings_that_differ_from_the_types_defaults_are_marked() -> None:
    config = TrainConfig.for_type("wgan", "digits", generator_lr=1e-3, conditional=True)
    settings = {setting.name: setting for setting in settings_of(config)}
    changed = {name: (setting.value, setting.default) for name, setting in settings.items() if setting.is_changed}
    assert changed == {"generator_lr": ("0.001", "0.0005"), "conditional": ("true", "false")}
    assert settings["minutes"].value == "none"
    assert "n_critic" in settings
    assert "r1_gamma" not in settings  # has no meaning for a wgan


def test_a_long_run_gives_a_page_of_bearable_size(write: Callable[..., Page], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "samples").mkdir()
    noise = rng.integers(0, 256, (1042, 1042, 3), np.uint8)  # an 8 x 8 grid of 128 pixels; PNG can't shrink it
    Image.fromarray(noise).save(tmp_path / "samples" / "step_0000500.png", compress_level=0)
    for step in range(1000, 10_001, 500):
        (tmp_path / "samples" / f"step_{step:07d}.png").hardlink_to(tmp_path / "samples" / "step_0000500.png")
    names = ["critic_loss", "generator_loss", "real_accuracy", "fake_accuracy", "r1", "diversity", "recall"]
    history = [
        {"step": 20.0 * i} | {name: float(value) for name, value in zip(names, rng.random(7), strict=True)}
        for i in range(1, 5001)
    ]
    page = write(history=history, step=100_000)
    pictures = sum(len(image["src"] or "") for image in page.all("img") if image.get("src"))
    assert len(page.source) - pictures < LARGEST_PAGE / 3
    assert pictures < 1.5 * LARGEST_PAGE  # of noise; samples, which JPEG can shrink, take a third of that


def test_thinning_keeps_the_order_and_every_spike() -> None:
    steps, values = np.arange(5000.0), np.ones(5000)
    values[[7, 1234, 4999]] = 9, -9, 5
    values[2000:2600] = np.nan
    thin_steps, thin_values = thin(steps, values)
    assert len(thin_values) <= POINTS
    assert (np.diff(thin_steps) > 0).all()
    assert {7.0, 1234.0, 4999.0} <= set(thin_steps)
    assert np.isnan(thin_values[(thin_steps > 2010) & (thin_steps < 2590)]).all()  # a gap stays a gap


def test_sample_grids_are_the_first_the_last_and_evenly_between(tmp_path: Path) -> None:
    draw_samples(tmp_path / "samples", [*range(100, 10_001, 100)])
    (tmp_path / "samples" / "step_0000100.png.part").write_bytes(b"")
    (tmp_path / "samples" / "notes.png").write_bytes(b"no picture")
    steps = [grid.step for grid in read_grids(tmp_path / "samples")]
    assert len(steps) == GRIDS
    assert (steps[0], steps[-1]) == (100, 10_000)
    assert max(np.diff(steps)) - min(np.diff(steps)) <= 100
    assert read_grids(tmp_path / "nowhere") == []


@pytest.mark.parametrize("content", [b"", b"no picture", "cut"])
def test_a_damaged_picture_is_named_and_the_rest_shown(
    write: Callable[..., Page], tmp_path: Path, content: bytes | str
) -> None:
    draw_samples(tmp_path / "samples", [50, 100])
    path = tmp_path / "samples" / "step_0000050.png"
    path.write_bytes(path.read_bytes()[:45] if content == "cut" else bytes(content))  # type: ignore[arg-type]
    page = write()
    assert "Step 50: the picture can't be read" in page.text
    assert [image["alt"] for image in page.all("img") if image.get("src")] == ["Samples at step 100"]


def test_a_picture_too_large_for_pillow_is_named(write: Callable[..., Page], tmp_path: Path) -> None:
    draw_samples(tmp_path / "samples", [100])
    Image.new("1", (16_000, 12_000)).save(tmp_path / "samples" / "step_0000050.png", compress_level=1)
    assert "Step 50: the picture can't be read" in write().text


def test_a_page_that_cannot_be_written_leaves_the_old_one(write: Callable[..., Page], tmp_path: Path) -> None:
    write(verdict="the old page")
    (tmp_path / ".report.html.part").mkdir()  # as root may write anywhere, a folder stands in the way
    with pytest.raises(CheckpointError, match=r"report\.html: can't be written: .*irectory"):
        write(verdict="the new page")
    assert "the old page" in (tmp_path / "report.html").read_text()


def test_versions_name_packages_and_hardware() -> None:
    found = versions(torch.device("cpu"))
    assert found["torch"] == torch.__version__
    assert found["threads"] == str(torch.get_num_threads())
    assert all(found[name] for name in ("ganworks", "numpy", "python", "system", "processor", "device"))
