"""What a user's file imports: found where it would be found if the file were run, and nothing else with it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gan_export.refusal import IntakeError
from gan_export.user_code.module import load_constructor

WriteFn = Callable[..., str]


def load(spec: str) -> nn.Module:
    return load_constructor(spec, {}).make()


NEEDS_OPS = "from torch import nn\nfrom ops import *\nclass Generator(nn.Module):\n    width = WIDTH\n"
RELATIVE = "from torch import nn\nfrom .ops import WIDTH\nfrom ..shared import DEPTH\n"
RELATIVE += "import above\nclass Generator(nn.Module):\n    width = WIDTH, DEPTH, above.X\n"


def test_neighbours_of_the_file(write: WriteFn, tmp_path: Path):
    before = list(sys.path)
    one = load(write(a__model=NEEDS_OPS, a__ops="WIDTH = 1") + ":Generator")
    two = load(write(b__model=NEEDS_OPS, b__ops="WIDTH = 2") + ":Generator")
    assert (one.width, two.width) == (1, 2)
    assert sys.path == before
    assert not list(tmp_path.rglob("__pycache__"))


def test_relative_imports(write: WriteFn, tmp_path: Path):
    path = write(p__q__model=RELATIVE, p__q__ops="WIDTH = 3", p__shared="DEPTH = 4", above="X = 5")
    for folder in ("p", "p/q"):
        (tmp_path / folder / "__init__.py").write_text("raise RuntimeError('nobody named this')")
    assert load(path + ":Generator").width == (3, 4, 5)


BESIDE = "from torch import nn\nfrom models.layers import WIDTH\nclass G(nn.Module):\n    width = WIDTH\n"


def test_folders_below_the_one_where_the_command_is_given(
    write: WriteFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for width in (1, 2):
        write(**{f"repo{width}__models__generator": BESIDE, f"repo{width}__models__layers": f"WIDTH = {width}"})
        monkeypatch.chdir(tmp_path / f"repo{width}")
        (tmp_path / "path" / "models").mkdir(parents=True, exist_ok=True)
        monkeypatch.syspath_prepend(tmp_path / "path")  # a folder of that name is no package of that name
        assert load("models/generator.py:G").width == width
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IntakeError, match=r"No module named 'models"):
        load("repo1/models/generator.py:G")


def test_an_installed_package_comes_before_what_lies_where_the_command_is_given(
    write: WriteFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(below__model="import shellingham\nfrom torch.nn import Identity as G", shellingham="raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "shellingham", raising=False)
    load("below/model.py:G")
    assert not sys.modules["shellingham"].__file__.startswith(str(tmp_path))


OF_PACKAGE = "from torch import nn\nfrom . import WIDTH, ops\nclass G(nn.Module):\n    width = WIDTH + ops.X\n"


def test_what_a_package_s_own_file_defines(write: WriteFn, tmp_path: Path):
    path = write(p__model=OF_PACKAGE, p__ops="X = 1") + ":G"
    (tmp_path / "p" / "__init__.py").write_text("from .ops import X\nWIDTH = X + 2\nfrom .model import G\n")
    assert load(path).width == 4
    (tmp_path / "p" / "__init__.py").write_text("DEPTH = 2\n")
    with pytest.raises(IntakeError, match="ImportError: cannot import name 'WIDTH' from 'p'") as caught:
        load(path)
    assert "ganworks" not in str(caught.value)


def test_a_neighbour_that_is_not_there_is_named_as_the_file_does(write: WriteFn):
    with pytest.raises(IntakeError, match=r"No module named 'layers' \(model\.py:1\)"):
        load(write(model="from .layers import X") + ":G")


def test_neighbours_never_stand_in_for_the_standard_library(write: WriteFn):
    text = "import colorsys, csv\nfrom torch import nn\nclass Generator(nn.Module):\n    reader = csv.reader\n"
    sys.modules.pop("colorsys", None)
    module = load(write(model=text, colorsys="raise RuntimeError", csv="reader = 1") + ":Generator")
    assert module.reader != 1


def test_a_folder_never_stands_in_for_an_installed_package(
    write: WriteFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(site__dependency__x="")
    (tmp_path / "site" / "dependency" / "__init__.py").write_text("X = 6")
    monkeypatch.syspath_prepend(tmp_path / "site")
    text = (
        "import sys\nsys.path.append('gone')\nfrom torch import nn\nfrom dependency import X\nclass G(nn.Module): x = X"
    )
    path = write(own__model=text, own__dependency__readme="")
    assert load(path + ":G").x == 6
    assert "gone" not in sys.path


def test_what_forward_imports_is_found_beside_the_file(write: WriteFn):
    text = "from torch import nn\nclass G(nn.Module):\n    def forward(self, z):\n        import late_ops\n"
    text += "        return late_ops.X"
    for number in (1, 2):
        module = load(write(**{f"m{number}__model": text, f"m{number}__late_ops": f"X = {number}"}) + ":G")
        assert module(None) == number


def test_a_file_that_goes_to_its_own_folder_leaves_us_where_we_are(
    write: WriteFn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(
        own__model="import os\nos.chdir(os.path.dirname(os.path.abspath(__file__)))\nfrom torch.nn import Identity as G"
    )
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        load("own/model.py:G")
        assert Path.cwd() == tmp_path


def test_only_what_the_file_imports_is_imported(write: WriteFn):
    path = write(model="import torch\nclass Generator(torch.nn.Module): pass", other="raise RuntimeError('not named')")
    assert isinstance(load(path + ":Generator"), torch.nn.Module)
