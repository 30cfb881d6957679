"""What the command line of gan-export is read as."""

from pathlib import Path

import pytest

from gan_export.cli.values import name_of


@pytest.mark.parametrize(
    ("file", "name"), [("runs/digits/ckpt.pt", "digits"), ("netG.pth", "netG"), ("ü.pth", "generator")]
)
def test_names_come_from_the_run_or_the_file(file: str, name: str) -> None:
    assert name_of(Path(file)) == name


def test_a_link_that_leads_to_itself_has_a_name(tmp_path: Path) -> None:
    """That it can't be read is told where it is read."""
    link = tmp_path / "circle.pth"
    link.symlink_to(link)
    assert name_of(link) == "circle"
