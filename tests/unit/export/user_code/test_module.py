"""Generators in users' own files: found, constructed, and every mistake told in one line."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gan_export.refusal import IntakeError
from gan_export.user_code.module import load_constructor, parse_value

WriteFn = Callable[..., str]

GENERATOR = """
import torch
from torch import nn

print("loading the model file")

class Generator(nn.Module):
    def __init__(self, nz: int, ngf=64, act="relu", sizes=(4, 8), bias=True, **kwargs):
        super().__init__()
        self.given = dict(nz=nz, ngf=ngf, act=act, sizes=sizes, bias=bias, **kwargs)
        self.main = nn.Linear(nz, ngf)

class Critic(nn.Module):
    pass

def make(nz=3):
    return Generator(nz)

class models:
    class Small(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.width = width

finished = Generator(2)
number = 7
def text(): return "no module"
def positional(nz, /): return Generator(nz)
def strict(nz, ngf=64): return Generator(nz, ngf)
def fails(nz):
    raise RuntimeError("first line\\nsecond line")
def leaves():
    raise SystemExit(3)
def leaves_at_once():
    import os
    os._exit(3)
"""


def load_module(spec: str, init: dict[str, str]) -> nn.Module:
    return load_constructor(spec, init).make()


def test_a_class_with_arguments(write: WriteFn, capsys: pytest.CaptureFixture[str]):
    init = {
        "nz": "5",
        "act": "lrelu",
        "sizes": "(1, 2)",
        "bias": "False",
        "extra": "'7'",
        "scale": "1e-3",
        "none": "None",
    }
    module = load_module(write(model=GENERATOR) + ":Generator", init)
    assert isinstance(module, nn.Module)
    assert module.given == {
        **{"nz": 5, "ngf": 64, "act": "lrelu", "sizes": (1, 2), "bias": False},
        **{"extra": "7", "scale": 1e-3, "none": None},
    }
    assert capsys.readouterr() == ("", "loading the model file\n")


@pytest.mark.parametrize(("name", "init"), [("make", {}), ("models.Small", {"width": "3"}), ("strict", {"nz": "1"})])
def test_functions_and_nested_classes(write: WriteFn, name: str, init: dict[str, str]):
    assert isinstance(load_module(f"{write(model=GENERATOR)}:{name}", init), nn.Module)


@pytest.mark.parametrize(
    ("name", "init", "reason"),
    [
        ("Gen", {}, "model.py has no Gen; its module classes: Critic, Generator"),
        ("models.Big", {}, "model.py has no models.Big"),
        ("finished", {}, "finished module; give its class Generator"),
        ("number", {}, "number is a int, not a class"),
        ("text", {}, "gives str, not a torch.nn.Module"),
        (
            "Generator",
            {},
            r"needs nz: give --init nz=VALUE; its signature is Generator\(nz, ngf=64, act='relu'",
        ),
        ("strict", {"nz": "1", "nfg": "2"}, r"--init nfg: no such argument; its signature is strict\(nz, ngf=64\)"),
        ("positional", {"nz": "1"}, "only by position"),
        ("fails", {"nz": "1"}, r"fails can't be constructed: RuntimeError: first line \(model.py:\d+\)"),
        ("Generator", {"nz": "text"}, r"TypeError: .* \(model.py:\d+\); its signature"),
        ("leaves", {}, r"ends the program \(exit code 3\)"),
        ("leaves_at_once", {}, r"ends the program \(exit code 3\)"),
        ("make", {"nz": "1", "nz.a": "2"}, "--init nz.a=2: nz already has a value"),
    ],
)
def test_mistakes_are_told_in_one_line(write: WriteFn, name: str, init: dict[str, str], reason: str):
    with pytest.raises(IntakeError, match=reason) as caught:
        load_module(f"{write(model=GENERATOR)}:{name}", init)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import torch\nx = 1 +\n", r"model.py can't be imported: SyntaxError: invalid syntax \(model.py:2\)"),
        ("import nothing_like_this\n", r"ModuleNotFoundError: No module named 'nothing_like_this' \(model.py:1\)"),
        ("\n\nraise ValueError('bad day')\n", r"ValueError: bad day \(model.py:3\)"),
        ("raise ValueError('ab' * 5000)\n", r"ValueError: (ab){150}\.\.\. \(model.py:1\)"),
        ("class S(BaseException): pass\nraise S('x')\n", r"model.py can't be imported: S: x \(model.py:2\)"),
        ("import sys\nsys.exit(0)\n", r"ends the program \(exit code 0\).*__main__"),
        ("from os import _exit\n_exit(0)\n", r"ends the program \(exit code 0\).*__main__"),
        ("class A: pass\n", "model.py has no Generator; it defines no torch.nn.Module class"),
    ],
)
def test_files_that_can_not_be_imported(write: WriteFn, text: str, reason: str):
    with pytest.raises(IntakeError, match=reason) as caught:
        load_module(write(model=text) + ":Generator", {})
    assert "\n" not in str(caught.value)


def test_processes_that_the_file_forks_may_end_as_they_like(write: WriteFn):
    """As those of multiprocessing do."""
    text = "import os\npid = os.fork()\nif not pid:\n    os._exit(5)\n_, status = os.waitpid(pid, 0)\n"
    before = os._exit
    constructor = load_constructor(f"{write(forks=text)}:make", {})
    assert os.waitstatus_to_exitcode(constructor.module.status) == 5
    assert os._exit is before


def test_a_crash_is_told_with_its_place(write: WriteFn):
    code = "import sys, gan_export.user_code.module as m; m.load_constructor(sys.argv[1], {}).make()"
    file = write(crashes="import os\ndef make():\n    os.abort()\n")
    done = subprocess.run([sys.executable, "-c", code, f"{file}:make"], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGABRT
    assert done.stderr.startswith("Fatal Python error: Aborted\n")
    assert f'File "{file}", line 3 in make' in done.stderr


def test_ctrl_c_goes_through(write: WriteFn):
    with pytest.raises(KeyboardInterrupt):
        load_module(write(model="raise KeyboardInterrupt") + ":Generator", {})


def test_a_default_dtype_is_the_file_s_own(write: WriteFn):
    text = "import torch\ntorch.set_default_dtype(torch.float64)\nclass Generator(torch.nn.Linear):\n"
    text += "    def __init__(self):\n        super().__init__(2, 2)\n        torch.set_default_dtype(torch.float16)\n"
    assert load_module(write(model=text) + ":Generator", {}).weight.dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32


def test_a_default_device_is_the_file_s_own(write: WriteFn):
    text = "import torch\ntorch.set_default_device('meta')\nclass Generator(torch.nn.Linear):\n"
    text += "    def __init__(self):\n        super().__init__(2, 2)\n        torch.set_default_device('meta')\n"
    assert not load_module(write(model=text) + ":Generator", {}).weight.is_meta
    assert torch.get_default_device() == torch.device("cpu")


@pytest.mark.parametrize("spec", ["model.py", "model.py:", "model:Generator", "model.txt:Generator", ":Generator"])
def test_a_wrong_spec(spec: str):
    with pytest.raises(IntakeError, match=r"write the file and the class, such as path/model\.py:Generator"):
        load_module(spec, {})


@pytest.mark.parametrize("file", ["~nobody-of-that-name/gen.py", "circle.py", "nul\0.py"])
def test_a_path_that_leads_nowhere(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("circle.py").symlink_to("circle.py")
    with pytest.raises(IntakeError, match=r"can't be found: .*; --module takes|no such file; --module takes"):
        load_module(f"{file}:G", {})


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(IntakeError, match="no such file"):
        load_module(f"{tmp_path}/model.py:Generator", {})


SCRIPT = """
import argparse, sys
from torch import nn
parser = argparse.ArgumentParser()
parser.add_argument("--nz", type=int, default=12)
opt = parser.parse_args()

class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.nz, self.arguments = opt.nz, list(sys.argv)
"""


def test_a_script_with_a_global_opt_gets_its_defaults(write: WriteFn):
    path = write(script=SCRIPT)
    before = list(sys.argv)
    module = load_module(path + ":Generator", {})
    assert module.nz == 12
    assert module.arguments == [path]
    assert sys.argv == before


OPTIONS = """
from torch import nn
class Generator(nn.Module):
    def __init__(self, opt):
        super().__init__()
        self.nz, self.name = opt.nz, opt.name
"""


def test_a_namespace_of_options(write: WriteFn):
    path = write(model=OPTIONS) + ":Generator"
    module = load_module(path, {"opt.nz": "4", "opt.name": "x"})
    assert (module.nz, module.name) == (4, "x")
    with pytest.raises(IntakeError, match=r"AttributeError: 'Namespace' object has no attribute 'name' \(model.py:6\)"):
        load_module(path, {"opt.nz": "4"})


def test_names_of_what_is_text_by_default_stay_text(write: WriteFn):
    text = "from torch import nn\nclass G(nn.Module):\n    def __init__(self, a='x', b: str = None, c=True, **more):\n"
    text += "        super().__init__()\n        self.given = a, b, c, more\n"
    words = {"a": "none", "b": "True", "c": "false", "d": "none"}
    assert load_module(write(model=text) + ":G", words).given == ("none", True, False, {"d": None})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1", 1), ("-1.5", -1.5), ("True", True), ("None", None), ("'1'", "1"), ("[1, 2]", [1, 2]), ("(3,)", (3,))],
        *[("false", False), ("TRUE", True), ("none", None), ("Null", None), ("'none'", "none")],
        *[("{{}}", "{{}}"), ("(" * 10_000, "(" * 10_000)],
        *[("relu", "relu"), ("a b", "a b"), ("", ""), ("__import__('os')", "__import__('os')")],
    ],
)
def test_values(text: str, value: object):
    assert parse_value(text) == value
