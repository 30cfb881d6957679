"""Pictures in a terminal: which kind is chosen, what the bytes decode to, and real terminals."""

import base64
import contextlib
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
from PIL import Image

from gan_client import blocks, program, sixel
from gan_client.terminal import Graphics, Screen, draw, graphics_of, has_truecolour

COMMAND = [sys.executable, "-m", "gan_client"]
UPPER_HALF = "\N{UPPER HALF BLOCK}"


def grey(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    return Image.fromarray(pixels)


def colour(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("environ", "attributes", "graphics"),
    [
        ({"TERM": "xterm-kitty"}, None, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, None, "kitty"),
        ({"TERM": "xterm-ghostty"}, None, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, None, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, None, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, None, "iterm"),
        ({"TERM": "xterm-256color"}, {62, 4, 22}, "sixel"),
        ({"TERM": "xterm-256color"}, {62, 22}, "blocks"),
        ({"TERM": "xterm-256color"}, set(), "blocks"),
        # tmux hands on the variables of the terminal around it, and shows none of its pictures.
        ({"TERM": "tmux-256color", "TMUX": "/tmp/t,1,0", "KITTY_WINDOW_ID": "1"}, {1, 2}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/t,1,0"}, {1, 2, 4}, "sixel"),
        ({"TERM": "screen", "TERM_PROGRAM": "iTerm.app"}, set(), "blocks"),
        ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, None, "none"),
        ({}, None, "none"),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, None, "none"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, set(), "blocks"),
    ],
)
def test_what_a_terminal_shows(environ, attributes, graphics):
    def ask():
        assert attributes is not None, "the terminal is asked although its environment tells"
        return frozenset(attributes)

    assert graphics_of(environ, "utf-8", ask) == graphics


def test_half_blocks_need_unicode():
    assert graphics_of({"TERM": "xterm"}, "iso-8859-1", frozenset) == "none"
    assert graphics_of({"TERM": "xterm"}, "UTF-8", frozenset) == "blocks"


def test_truecolour():
    assert has_truecolour({"COLORTERM": "truecolor"})
    assert has_truecolour({"TERM": "xterm-direct"})
    assert not has_truecolour({"TERM": "xterm-256color"})


def decode_sixel(text):
    """The picture that a sixel sequence draws, RGB in percent; undrawn pixels are -1."""
    found = re.fullmatch(r'\x1bP0;1;0q"1;1;(\d+);(\d+)(.*)\x1b\\', text, re.DOTALL)
    assert found, "not a sixel sequence"
    width, height, body = int(found[1]), int(found[2]), found[3]
    canvas = np.full((-(-height // 6) * 6, width, 3), -1)
    palette, register, x, top = {}, 0, 0, 0
    for token in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|([$-])|(.)", body, re.DOTALL):
        defined, red, green, blue, chosen, count, repeated, single, control, unknown = token.groups()
        assert unknown is None, f"{unknown!r} is no sixel"
        if defined is not None:
            palette[int(defined)] = (int(red), int(green), int(blue))
            assert max(palette[int(defined)]) <= 100
        elif chosen is not None:
            register = int(chosen)
        elif control is not None:
            x, top = 0, top + (6 if control == "-" else 0)
        else:
            bits, times = ord(repeated or single) - 63, int(count or 1)
            for row in range(6):
                if bits >> row & 1:
                    assert (canvas[top + row, x : x + times] == -1).all(), "a pixel is drawn twice"
                    canvas[top + row, x : x + times] = palette[register]
            x += times
    assert len(palette) <= 256
    return canvas[:height]


@pytest.mark.parametrize("size", [(1, 1), (17, 6), (40, 13), (90, 60)])
def test_sixel_of_grey_is_exact_to_a_percent(size):
    image = grey(*size)
    shown = decode_sixel(sixel.encode(image))
    expected = np.asarray(image, np.float64)[:, :, None] * 100 / 255
    assert shown.shape == (size[1], size[0], 3)
    assert np.abs(shown - expected).max() <= 0.5 + 1e-9


def test_sixel_of_colours_is_the_quantised_picture():
    few = Image.fromarray(np.kron(np.asarray(colour(8, 5)), np.ones((7, 4, 1), np.uint8)))  # 40 colours
    shown = decode_sixel(sixel.encode(few))
    assert np.abs(shown - np.asarray(few, np.float64) * 100 / 255).max() <= 0.5 + 1e-9
    many = colour(64, 50)
    shown = decode_sixel(sixel.encode(many))
    assert shown.min() >= 0
    assert np.abs(shown - np.asarray(many, np.float64) * 100 / 255).mean() < 6  # percent; 3,200 colours as 255


def test_sixel_runs_are_short():
    blank = sixel.encode(Image.new("L", (1000, 600), 200))
    assert len(blank) < 2500
    assert (decode_sixel(blank) == 78).all()


def decode_blocks(text):
    """The pixels of half blocks: (H, W, 3), the background of the terminal as -1."""
    cube = (0, 95, 135, 175, 215, 255)

    def colour_of(kind, numbers):
        if kind == "2":
            return [int(number) for number in numbers]
        index = int(numbers[0])
        if index >= 232:
            return [8 + 10 * (index - 232)] * 3
        return [cube[(index - 16) // 36], cube[(index - 16) // 6 % 6], cube[(index - 16) % 6]]

    rows = []
    for line in text.splitlines():
        assert line.endswith("\x1b[0m")
        upper, lower, front, back = [], [], None, None
        for found in re.finditer(rf"\x1b\[([0-9;]*)m|{UPPER_HALF}|(.)", line):
            assert found[2] is None, f"{found[2]!r} is no half block"
            for part in re.finditer(r"(38|48);(2);(\d+);(\d+);(\d+)|(38|48);(5);(\d+)|(49)", found[1] or ""):
                groups = [group for group in part.groups() if group is not None]
                if groups[0] == "38":
                    front = colour_of(groups[1], groups[2:])
                else:
                    back = [-1] * 3 if groups[0] == "49" else colour_of(groups[1], groups[2:])
            if found[0] == UPPER_HALF:
                upper.append(front)
                lower.append(back)
        rows += [upper, lower]
    return np.array(rows)


@pytest.mark.parametrize("make", [grey, colour])
@pytest.mark.parametrize("height", [10, 7])
def test_half_blocks_with_truecolour_are_the_picture(make, height):
    image = make(12, height)
    shown = decode_blocks(blocks.encode(image, truecolour=True))
    assert (shown[:height] == np.asarray(image.convert("RGB"))).all()
    assert (shown[height:] == -1).all()
    assert len(shown) == height + height % 2


def test_half_blocks_with_256_colours_are_near():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(4, 64))
    shown = decode_blocks(blocks.encode(ramp, truecolour=False))
    assert np.abs(shown - np.asarray(ramp)[:, :, None].astype(int)).max() <= 9
    image = colour(16, 16)
    shown = decode_blocks(blocks.encode(image, truecolour=False))
    assert np.abs(shown - np.asarray(image).astype(int)).max() <= 48  # half of the cube's widest step


def decode_kitty(text):
    chunks = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", text)
    assert "".join(f"\x1b_G{control};{data}\x1b\\" for control, data in chunks) + "\n" == text
    assert all(len(data) <= 4096 for _, data in chunks)
    assert [re.search(r"m=(\d)", control)[1] for control, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
    assert chunks[0][0].startswith("a=T,f=100,q=2,c=")
    return int(re.search(r"c=(\d+)", chunks[0][0])[1]), "".join(data for _, data in chunks)


def decode_iterm(text):
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);width=(\d+);preserveAspectRatio=1:(.*)\x07\n", text)
    assert len(base64.b64decode(found[3])) == int(found[1])
    return int(found[2]), found[3]


@pytest.mark.parametrize(("graphics", "decode"), [(Graphics.KITTY, decode_kitty), (Graphics.ITERM, decode_iterm)])
def test_pictures_as_png(graphics, decode):
    image = colour(100, 40)
    columns, data = decode(draw(image, graphics, Screen(80, 24, (8, 16)), truecolour=False))
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
        # As large as 80 x 22 characters hold: 640 x 352 pixels, so 4 times would fit, and no more is asked for.
        assert shown.size == (400, 160)
        assert (np.asarray(shown)[::4, ::4] == np.asarray(image)).all()
    assert columns == 50


@pytest.mark.parametrize("graphics", [Graphics.KITTY, Graphics.SIXEL, Graphics.BLOCKS])
def test_wide_and_tall_sheets_fit_the_screen(graphics):
    for size in ((3000, 100), (100, 5000)):
        text = draw(grey(*size), graphics, Screen(40, 10, (10, 20)), truecolour=True)
        if graphics is Graphics.BLOCKS:
            height, width = decode_blocks(text).shape[:2]
            height, width = height * 10, width * 10
        elif graphics is Graphics.SIXEL:
            height, width = decode_sixel(text.removesuffix("\n")).shape[:2]
        else:
            with Image.open(io.BytesIO(base64.b64decode(decode_kitty(text)[1]))) as shown:
                width, height = shown.size
        assert width <= 400
        assert height <= 400  # two screens
        assert max(width, height) >= 380


@contextlib.contextmanager
def terminal(*arguments, **environ):
    """`gan-client` on a new pseudo-terminal: its process and the terminal's side that a person sits at."""
    controller, device = pty.openpty()
    termios.tcsetwinsize(device, (30, 90))
    before = termios.tcgetattr(device)
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM", "TMUX")}
    env |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environ}
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=device, stdout=device, stderr=subprocess.PIPE, env=env, start_new_session=True
    )
    try:
        yield process, controller
        assert termios.tcgetattr(device) == before, "the terminal is not as it was"
    finally:
        process.kill()
        process.communicate()
        os.close(controller)
        os.close(device)


def read_all(process, controller, answer=None):
    """What the process prints until it ends; `answer` is what the terminal says to Device Attributes."""
    shown, end = b"", time.monotonic() + 30
    while time.monotonic() < end:
        ready, _, _ = select.select([controller], [], [], 0.02)
        if ready:
            shown += os.read(controller, 65536)
            if answer is not None and b"\x1b[c" in shown:
                os.write(controller, answer)
                answer = None
        elif process.poll() is not None:
            break
    assert process.wait(1) == 0, process.stderr.read()
    return shown.replace(b"\r\n", b"\n").decode()


def ask(service, tmp_path):
    return ("sample", "--n", "4", "--seed", "1", "--url", service.url, "--out", str(tmp_path / "out"))


def test_a_terminal_with_sixels_shows_them(service, tmp_path):
    with terminal(*ask(service, tmp_path)) as (process, controller):
        shown = read_all(process, controller, b"\x1b[?62;4;22c")
    picture, summary = re.search(r"(\x1bP.*\x1b\\)\n(.*)", shown, re.DOTALL).groups()
    assert summary.startswith("4 images of 'acgan'")
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        zoomed = np.asarray(sheet.resize((sheet.width * 4, sheet.height * 4), Image.Resampling.NEAREST), np.float64)
    assert np.abs(decode_sixel(picture)[:, :, 0] - zoomed * 100 / 255).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("answer", [b"\x1b[?1;2c", None])
def test_a_terminal_without_shows_half_blocks_even_if_it_never_answers(service, tmp_path, answer):
    with terminal(*ask(service, tmp_path), COLORTERM="truecolor") as (process, controller):
        shown = read_all(process, controller, answer)
    picture, _, summary = shown.removeprefix("\x1b[c").rpartition("\x1b[0m\n")
    assert summary.startswith("4 images of 'acgan'")
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert (decode_blocks(picture + "\x1b[0m")[: len(pixels)] == pixels).all()


def test_no_picture_where_none_is_wanted(service, tmp_path):
    with terminal(*ask(service, tmp_path), NO_COLOR="1") as (process, controller):
        shown = read_all(process, controller)
    assert re.fullmatch(r"4 images of 'acgan'.*\n", shown)


@pytest.mark.parametrize("option", ["--no-show", "--json"])
def test_options_without_a_picture(service, tmp_path, option):
    with terminal(*ask(service, tmp_path), option, TERM="xterm-kitty") as (process, controller):
        shown = read_all(process, controller)
    assert "\x1b" not in shown


def test_a_pipe_has_a_picture_only_if_it_is_asked_for(service, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-kitty")
    assert program.run(ask(service, tmp_path)) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert program.run([*ask(service, tmp_path), "--show", "kitty", "--quiet"]) == 0
    assert decode_kitty(capsys.readouterr().out)


def models(*names):
    listed = {
        "image_size": [28, 28], "channels": 1, "latent_dim": 48, "latent_distribution": "normal",
        "family": "ganworks/conv", "class_names": ["T-shirt/top", "Trouser", "Pullover", "Sandal", "Ankle boot"],
    }  # fmt: skip
    return json.dumps({"models": [{**listed, "name": name} for name in names]}).encode()


def test_a_heading_wider_than_the_cells_below_it_is_not_broken(service, reply, capsys):
    service.script.append(reply(200, models("gan")))
    assert program.run(["models", "--url", service.url]) == 0
    assert re.search(r"┃ model +┃ family", capsys.readouterr().out)


def test_names_of_generators_are_whole_on_80_columns(service, reply):
    names = ["fashion-mnist-conditional", "fashion-mnist-unconditional"]
    service.script.append(reply(200, models(*names)))
    with terminal("models", "--url", service.url, COLUMNS="80") as (process, controller):
        shown = read_all(process, controller)
    assert {len(line) for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()} == {80}
    for name in names:
        assert f"│ {name} " in shown
    assert "…" not in shown
