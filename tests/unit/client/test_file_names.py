"""What the end of a file's name promises, on any host."""

from pathlib import Path

import pytest

from gan_client import output
from gan_client.files import Place, format_named
from gan_client.rendered import Rendered
from gan_client.sheets import sheet_format


@pytest.mark.parametrize("name", ["x.jpg", "x.jpeg", "x.JFIF", "x.jpe", "x.jif"])
def test_a_jpeg_has_one_of_its_names(tmp_path, name):
    file = Rendered(b"jpeg", "image/jpeg", "m", "id", 3)
    assert file.save(tmp_path / name).read_bytes() == b"jpeg"
    assert sheet_format(tmp_path / name) == "jpeg"
    assert output.format_of(None, Place(tmp_path / name), ("png", "jpeg")) == "jpeg"


@pytest.mark.parametrize("name", ["x.bmp", "x.TIFF", "x.avif", "x.jxl", "x.tga", "x.mp4", "x.mkv"])
def test_other_pictures_and_films_are_known_without_the_hosts_list_of_media_types(name):
    assert format_named(Path(name)) == name[2:].lower()
