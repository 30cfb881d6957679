"""Pictures in a terminal: which kind the terminal shows, at which size, and the characters that draw one."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

QUERY_SECONDS: Final = 0.5
"""How long a terminal has to say what it can; all that do answer at once, be it over a slow line."""

_CELL: Final = (10, 20)  # pixels of a character, where the terminal doesn't say
_SCREENS: Final = 2  # a picture is at most so many screens high
_LARGEST_ZOOM: Final = 4
_KITTY_CHUNK: Final = 4096
_SIXEL_ATTRIBUTE: Final = 4
_DEVICE_ATTRIBUTES: Final = re.compile(rb"\x1b\[\?([0-9;]*)c")


class Graphics(StrEnum):
    """How a terminal shows pictures."""

    KITTY = "kitty"
    ITERM = "iterm"
    SIXEL = "sixel"
    BLOCKS = "blocks"
    NONE = "none"


@dataclass(frozen=True)
class Screen:
    """The terminal's size."""

    columns: int = 80
    lines: int = 24
    cell: tuple[int, int] = _CELL
    """Width and height of a character in pixels."""


def graphics_of(environ: Mapping[str, str], encoding: str, attributes: Callable[[], frozenset[int]]) -> Graphics:
    """What the terminal shows, judged from its environment, and from its device attributes if those don't tell.

    Args:
        environ: environment variables of the process.
        encoding: of the stream that is written to; half blocks need Unicode.
        attributes: asks the terminal; called only where the answer matters.
    """
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if term in ("", "dumb") or environ.get("NO_COLOR"):
        return Graphics.NONE
    # tmux and screen pass on the outer terminal's variables, and none of its pictures.
    if not ("TMUX" in environ or "STY" in environ or term.startswith(("screen", "tmux"))):
        if term in ("xterm-kitty", "xterm-ghostty") or "KITTY_WINDOW_ID" in environ:
            return Graphics.KITTY
        if program in ("ghostty", "WezTerm"):
            return Graphics.KITTY
        if program == "iTerm.app" or environ.get("LC_TERMINAL") == "iTerm2":
            return Graphics.ITERM
    if _SIXEL_ATTRIBUTE in attributes():
        return Graphics.SIXEL
    return Graphics.BLOCKS if encoding.lower().replace("-", "").startswith("utf") else Graphics.NONE


def has_truecolour(environ: Mapping[str, str]) -> bool:
    """Whether the terminal says that it shows 24-bit colours."""
    return environ.get("COLORTERM", "") in ("truecolor", "24bit") or environ.get("TERM", "").endswith("-direct")


def device_attributes(stream: TextIO, seconds: float = QUERY_SECONDS) -> frozenset[int]:
    """The numbers in the terminal's answer to Primary Device Attributes (`ESC [ c`); none if it doesn't answer.

    The terminal's settings are put back, whatever happens. A process in the background doesn't ask: setting up
    the terminal would stop it.
    """
    try:
        import termios
        import tty
    except ImportError:  # not a POSIX system
        return frozenset()
    try:
        with _opened(os.ttyname(stream.fileno())) as terminal:
            if _in_background(terminal):
                return frozenset()
            before = termios.tcgetattr(terminal)
            try:
                tty.setcbreak(terminal, termios.TCSANOW)  # no echo, no waiting for Enter; Ctrl-C still works
                os.write(terminal, b"\x1b[c")
                return _answer(terminal, seconds)
            finally:
                termios.tcsetattr(terminal, termios.TCSANOW, before)
    except (OSError, termios.error):
        return frozenset()


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        yield terminal
    finally:
        os.close(terminal)


def _in_background(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:  # not this process's controlling terminal, so it can't stop it either
        return False


def _answer(terminal: int, seconds: float) -> frozenset[int]:
    end, received = time.monotonic() + seconds, b""
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([terminal], [], [], left)
        piece = os.read(terminal, 256) if ready else b""
        if not piece:
            break
        received += piece
        if found := _DEVICE_ATTRIBUTES.search(received):
            return frozenset(int(number) for number in found[1].split(b";") if number)
    return frozenset()


def screen_of(stream: TextIO) -> Screen:
    """The size of the stream's terminal; 80 x 24 characters of 10 x 20 pixels where it isn't known."""
    columns, lines, width, height = _window(stream)
    if not columns or not lines:
        columns, lines = shutil.get_terminal_size()
    has_pixels = width >= 2 * columns and height >= 2 * lines
    return Screen(columns, lines, (width // columns, height // lines) if has_pixels else _CELL)


def _window(stream: TextIO) -> tuple[int, int, int, int]:
    """Columns, lines, and width and height in pixels; 0 for what isn't known."""
    try:
        import fcntl
        import struct
        import termios

        lines, columns, width, height = struct.unpack(
            "HHHH", fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, bytes(8))
        )
    except (ImportError, OSError):
        return 0, 0, 0, 0
    return columns, lines, width, height


def draw(image: PILImage, graphics: Graphics, screen: Screen, *, truecolour: bool) -> str:
    """The characters that show `image` (mode `L` or `RGB`) and leave the cursor on a new line."""
    if graphics is Graphics.NONE:
        return ""
    if graphics is Graphics.BLOCKS:
        from . import blocks

        return blocks.encode(_fitted(image, screen.columns, 2 * _SCREENS * screen.lines), truecolour=truecolour)
    width, height = screen.cell
    scaled = _fitted(_zoomed(image, screen), screen.columns * width, _SCREENS * screen.lines * height)
    if graphics is Graphics.SIXEL:
        from . import sixel

        return sixel.encode(scaled) + "\n"
    columns = min(screen.columns, -(-scaled.width // width))
    return (_kitty if graphics is Graphics.KITTY else _iterm)(_png(scaled), columns) + "\n"


def _fitted(image: PILImage, width: int, height: int) -> PILImage:
    """`image`, made smaller if it is larger than `width` x `height`."""
    from PIL.Image import Resampling

    scale = min(width / image.width, height / image.height)
    if scale >= 1:
        return image
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, Resampling.LANCZOS)


def _zoomed(image: PILImage, screen: Screen) -> PILImage:
    """`image` in whole multiples of its pixels, as large as is seen at one glance, up to 4 times."""
    from PIL.Image import Resampling

    width, height = screen.columns * screen.cell[0], (screen.lines - 2) * screen.cell[1]
    zoom = max(1, min(_LARGEST_ZOOM, width // image.width, height // image.height))
    return image.resize((image.width * zoom, image.height * zoom), Resampling.NEAREST)


def _png(image: PILImage) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _kitty(png: bytes, columns: int) -> str:
    """The terminal graphics protocol of kitty: transmit and show a PNG (f=100), without an answer (q=2)."""
    text = base64.standard_b64encode(png).decode()
    chunks = [text[i : i + _KITTY_CHUNK] for i in range(0, len(text), _KITTY_CHUNK)]
    pieces = []
    for i, chunk in enumerate(chunks):
        control = f"a=T,f=100,q=2,c={columns}," if i == 0 else ""
        pieces.append(f"\x1b_G{control}m={int(i + 1 < len(chunks))};{chunk}\x1b\\")
    return "".join(pieces)


def _iterm(png: bytes, columns: int) -> str:
    """The inline images protocol of iTerm2."""
    text = base64.standard_b64encode(png).decode()
    return f"\x1b]1337;File=inline=1;size={len(png)};width={columns};preserveAspectRatio=1:{text}\x07"


def show(image: PILImage | None, wanted: Graphics | None) -> None:
    """Draw `image` on stdout: as `wanted`, or, when None, as the terminal can, and not at all if it is no terminal.

    Nothing for an image of None, which is too large to be drawn.
    """
    if image is None:
        return
    out = sys.stdout
    graphics = wanted
    if graphics is None:
        if not out.isatty():
            return
        graphics = graphics_of(os.environ, out.encoding, lambda: device_attributes(out))
    out.write(draw(image, graphics, screen_of(out), truecolour=has_truecolour(os.environ)))
