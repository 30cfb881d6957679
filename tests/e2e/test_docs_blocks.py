"""Every code block of README.md and docs/ is run: each page from top to bottom, as a reader would.

A page has a copy of the checkout to itself, with files that its readers would have (`Desk`). `bentoml serve` starts a
real service there, on which the rest of the page relies; before that, and on pages without it, a shared one answers.
What would take long is scaled down by REPLACED, and nothing else is changed. A block that can't be run here has a
comment `<!-- not run: REASON -->` before it, and these are listed in NOT_RUN. Commands are forked (commands.py).
"""

import contextlib
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from commands import python_shim, run_forked
from PIL import Image

from gan_export.families.pytorch_examples import Dcgan
from gan_export.families.pytorch_gan_mlp import Perceptron
from gan_serving.keys import new_key
from gan_training.cli.evaluate import main as evaluate
from gan_training.data import load_data
from gan_training.metrics import features

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
BLOCK_SECONDS = 120
LINKED = (
    *(".venv", "Makefile", "pyproject.toml", "constraints.txt"),
    *("bench", "clients", "examples", "export", "serving/gan_serving", "training", "zoo"),
)
COPIED = ("bentofile.yaml", "serving/bento.py")  # which look for models/ beside where they really are
LANGUAGES = {"sh", "python", "text", "html"}  # html: tests/browser opens it
NOT_RUN = {
    "docs/graphs.md: needs a GPU": 1,
    "docs/serving.md: needs a container engine": 1,
    "docs/serving.md: needs a cluster": 1,
    "docs/serving.md: needs a package more, and a collector": 1,
    "docs/zoo.md: links into the reader's home": 1,
}
SMALL = "--steps 4 --image-size 16 --set evaluate_every=0 --set generator_width=8 --set critic_width=8 --force"
REPLACED = (  # pattern of a line, what stands in its place
    (r"^make (.*)", r"make --dry-run \1"),
    (r"^((?:gan-train|torchrun) (?!.*--(?:resume|dry-run))[^#]*)", rf"\1 {SMALL} "),
    (r"^(gan-train .*--resume[^#]*)", r"\1 --steps 6 "),
    (r"^(gan-train .*)\bmnist\b", r"\1digits"),
    (r"^(gan-eval .*)\bbest\.pt", r"\1ckpt.pt"),  # runs that small have no best
    (r"^(gan-eval .*?)--data (?:digits|mnist)", r"\1--n 60 --data npz:few.npz"),
    (r"^(gan-eval .*?)--test-data 'mnist#test'", r"\1--test-data npz:few.npz"),
    (r"^(gan-export [^#]*)", r"\1 --force "),
    (r"^(python bench/[^#]*)", r"\1 --help "),
    (r"models:/srv/more:bento:faces", "models"),
    (r"/srv/generators", "models"),
    (r" --port 8000", ""),
    (r"^pip install .* && ", ""),
    (r"--n 1000+\b", "--n 30"),
    (r"--each 1000\b", "--each 2"),
    (r"--shard-size 20000\b", "--shard-size 12"),
    (r"for i in range\(1000\)", "for i in range(30)"),
)
REFUSED = ("gan-export netG.pth --force",)  # what only tells which options are missing
ONCE = ("gan-train ", "gan-export ")  # not again where another page has the same; what they make is in `given`
SERVE = re.compile(r"^((?:\w+=\S+ )*)bentoml serve\b([^#]*)")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    excuse: str  # why it isn't run, or ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    found = re.finditer(r"^(?:<!-- not run: (.+?) -->\n)?```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [
        Block(page, text[: each.start(2)].count("\n") + 2, each[2], each[3], excuse=each[1] or "") for each in found
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
TO_RUN = [block for block in BLOCKS if block.language in ("sh", "python") and not block.excuse]


def test_every_block_is_of_a_known_language() -> None:
    assert not [str(block) for block in BLOCKS if block.language not in LANGUAGES]
    assert len(TO_RUN) >= 40


def test_blocks_that_are_not_run_are_few_and_known() -> None:
    assert Counter(f"{block.page}: {block.excuse}" for block in BLOCKS if block.excuse) == NOT_RUN


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text())
    inside = [target for target in targets if "://" not in target]
    assert not [target for target in inside if not (ROOT / page).parent.joinpath(target).exists()]


def plainly(line: str) -> str:
    """Without its comment and the blanks that align it."""
    return re.sub(r"\s+", " ", line.partition("#")[0]).strip()


class Desk:
    """Where a page is run: what a reader has there, and the service that answers."""

    done: ClassVar[set[str]] = set()  # commands of ONCE that ran, for this page or another one

    def __init__(self, folder: Path, url: str, cache: Path) -> None:
        self.folder, self.url, self.cache = folder, url, cache

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "GAN_URL": self.url,
            "GAN_CACHE": str(self.cache),
            "PATH": f"{python_shim().parent}:{os.environ['PATH']}",
            "BENTOML_DO_NOT_TRACK": "true",
        }

    def run(self, command: list[str], block: Block, *, refused: bool = False) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
            check=False,
        )
        assert (done.returncode == 0) != refused, f"{block}: {command[-1]}\n{done.stdout}{done.stderr}"

    def python(self, block: Block) -> None:
        """A block that begins with `# NAME.py` is that file; others are run."""
        text = self.scaled(block.text)
        if name := re.match(r"# (\w+\.py)\n", text):
            (self.folder / name[1]).write_text(text)
        elif "import torch" in text:  # whose exporter warns of itself
            done = run_forked(f"-c {text}", [], self.folder, self.environment, BLOCK_SECONDS)
            assert done.returncode == 0, f"{block}: {text}\n{done.stdout}{done.stderr}"
        else:
            self.run([sys.executable, "-W", "error", "-c", text], block)

    def shell(self, lines: list[str], block: Block) -> None:
        """Some scaled lines of a block, of which a command of REFUSED has to fail."""
        script: list[str] = []
        for line in lines:
            plain = plainly(line)
            if plain in REFUSED:
                self.run(["bash", "-c", line], block, refused=True)
            elif plain not in self.done:
                script.append(line)
        self.done |= {plain for plain in map(plainly, script) if plain.startswith(ONCE)}
        if script:
            self.run(["bash", "-euo", "pipefail", "-c", "\n".join(script)], block)

    def scaled(self, text: str) -> str:
        for pattern, instead in REPLACED:
            text = re.sub(pattern, instead, text, flags=re.MULTILINE)
        return text.replace("localhost:3000", self.url.removeprefix("http://"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, run_command, cache: Path) -> Path:
    """What readers have: runs of theirs and an artifact, other people's weights, images, an API key."""
    folder = tmp_path_factory.mktemp("given")
    train = f"gan-train --type cgan --data digits --out runs/digits {SMALL}"
    for command in (train, "gan-export runs/digits/ckpt.pt"):
        done = run_command(*command.split(), cwd=folder)
        assert done.returncode == 0, done.stderr
    Desk.done |= {train, "gan-export runs/digits/ckpt.pt --force"}
    for name in ("cgan-28", "a", "b"):
        shutil.copytree(folder / "runs" / "digits", folder / "runs" / name)
        shutil.copy(folder / "runs" / name / "ckpt.pt", folder / "runs" / name / "best.pt")
    torch.manual_seed(0)
    torch.save(Dcgan(100, 8, 3).state_dict(), folder / "netG.pth")
    torch.save(Perceptron(100, 784).state_dict(), folder / "generator.pth")
    noisy = shutil.copy(ROOT / "tests" / "e2e" / "strangers" / "noise_inside.py", folder / "stylegan.py")
    torch.save(runpy.run_path(noisy)["Generator"](100).state_dict(), folder / "stylegan.pth")
    for block in TO_RUN:
        if block.page == "docs/bring-your-own.md" and block.language == "python":
            Desk(folder, "", cache).python(block)  # model.py, G.pth, generator.onnx
    digits, few = load_data("digits", image_size=16), slice(None, None, 25)
    images, labels = digits.images[few].permute(0, 2, 3, 1).numpy(), digits.labels[few].numpy()
    np.savez(folder / "few.npz", images=images, labels=labels)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / "samples" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / "samples" / str(label) / f"{i}.png")
    (folder / "keys").write_text(f"{new_key('alice')[1]}\n")
    with pytest.MonkeyPatch.context() as patch:  # gan-eval's classifier in the cache, after few steps
        patch.setattr(features, "STEPS", 20)
        patch.setenv("GAN_CACHE", str(cache))
        patch.chdir(folder)
        for data in ("--data npz:few.npz", "--data npz:few.npz --test-data npz:few.npz"):
            with contextlib.suppress(SystemExit):
                evaluate(f"samples --n 60 {data}".split())
    assert len(list(cache.glob("ruler-*.pt"))) == 2
    return folder


@pytest.fixture(scope="module")
def url(serve, given: Path) -> Iterator[str]:
    with serve(models=given / "models", default_model="digits") as service:
        yield service.url


@pytest.fixture
def desk(tmp_path: Path, given: Path, url: str, cache: Path) -> Desk:
    shutil.copytree(given, tmp_path, dirs_exist_ok=True)
    (tmp_path / "serving").mkdir()
    for name in LINKED:
        (tmp_path / name).symlink_to(ROOT / name)
    for name in COPIED:
        shutil.copy(ROOT / name, tmp_path / name)
    return Desk(tmp_path, url, cache)


@pytest.mark.parametrize("page", sorted({block.page for block in TO_RUN}))
def test_page(page: str, desk: Desk, serve) -> None:
    with contextlib.ExitStack() as services:
        for block in (each for each in TO_RUN if each.page == page):
            if block.language == "python":
                desk.python(block)
                continue
            lines: list[str] = []
            for line in map(desk.scaled, block.text.replace("\\\n", " ").splitlines()):
                if not (served := SERVE.match(line)):
                    lines.append(line)
                    continue
                desk.shell(lines, block)
                lines = []
                services.close()
                desk.url = services.enter_context(serve_as(served, desk, serve)).url
            desk.shell(lines, block)


def serve_as(line: re.Match[str], desk: Desk, serve) -> contextlib.AbstractContextManager:
    """What the line serves, from the page's folder and on a free port, until the page's next service or its end."""
    variables = dict(each.split("=", 1) for each in line[1].split())
    settings = {name.removeprefix("GAN_").lower(): value for name, value in variables.items() if name[:4] == "GAN_"}
    home = {"home": desk.folder / "bentoml"} if "BENTOML_HOME" in variables else {}
    return serve(*line[2].split(), cwd=desk.folder, reload_seconds=0, **home, **settings)
