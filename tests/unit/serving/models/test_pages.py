"""The card of an artifact, and which pictures beside it are shown."""

from pathlib import Path

import pytest
from PIL import Image
from toy_artifact import write_artifact

from gan_export.artifact import load_artifact
from gan_serving.models.pages import MAX_PAGE_BYTES, MAX_PICTURES, pages_of


def shown(folder: Path, card: str) -> list[str]:
    (folder / "README.md").write_text(card, "utf-8")
    pages = pages_of(load_artifact(folder))
    assert pages.card == card
    for name, picture in pages.pictures.items():
        assert picture.content == (folder / name).read_bytes()
    assert len({picture.etag for picture in pages.pictures.values()}) == len({*pages.pictures})
    return list(pages.pictures)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "toy")


def picture(path: Path, shade: int = 9) -> None:
    Image.new("L", (3, 3), shade).save(path, format="PNG")


def test_the_preview_and_what_the_card_shows(folder: Path):
    for i, name in enumerate(("curves.png", "2-a_b.png", "unmentioned.png")):
        picture(folder / name, i)
    assert shown(folder, "# toy\n![curves](curves.png)\n\n| ![](2-a_b.png) | ![x](preview.png) |") == [
        "preview.png", "curves.png", "2-a_b.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["../outside.png", "/etc/outside.png", "sub/inside.png", ".hidden.png", "curves.jpg", "https://a.b/c.png"]
)
def test_only_files_beside_the_card_are_looked_at(folder: Path, name: str):
    (folder / "sub").mkdir()
    for path in (folder.parent / "outside.png", folder / "sub" / "inside.png", folder / ".hidden.png"):
        picture(path)
    assert shown(folder, f"![a]({name})") == ["preview.png"]


def test_what_is_no_picture_is_left_out(folder: Path):
    (folder / "text.png").write_text("no picture")
    (folder / "folder.png").mkdir()
    with (folder / "large.png").open("wb") as file:
        file.write((folder / "preview.png").read_bytes())
        file.truncate(MAX_PAGE_BYTES + 1)
    card = "".join(f"![a]({name}.png)" for name in ("text", "folder", "large", "missing"))
    assert shown(folder, card) == ["preview.png"]


def test_no_more_than_a_few_are_kept(folder: Path):
    names = [f"{i}.png" for i in range(2 * MAX_PICTURES)]
    for i, name in enumerate(names):
        picture(folder / name, i)
    assert shown(folder, "".join(f"![a]({name})" for name in names)) == ["preview.png", *names[: MAX_PICTURES - 1]]
