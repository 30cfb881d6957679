"""`gan-client models`, `show` and `health`: what there is to ask."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from gan_client._constants import DEFAULT_TIMEOUT
from gan_client.errors import NotFoundError, UnavailableError, one_line
from gan_client.files import Place
from gan_client.terminal import Graphics

from . import options

if TYPE_CHECKING:
    from rich.console import Console

    from gan_client.types import ModelDetail, ModelInfo

_T = TypeVar("_T")

_PIPE_COLUMNS: Final = 400  # rich takes 80 for a pipe, which would fold the names that scripts look for
_DIGEST: Final = 12
_IMAGE: Final = re.compile(r"!\[[^\]\n]*\]\([^)\n]*\)")  # in Markdown; a terminal shows the preview instead


def models(
    url: options.Url = None,
    api_key: options.Key = None,
    timeout: options.Timeout = DEFAULT_TIMEOUT,
    as_json: options.Json = False,
) -> None:
    """List the generators that the service has loaded.

    \b
    Example:
      gan-client models --url http://gpu-box:3000 --json
    """
    from gan_client.client import GanClient

    with GanClient(url, api_key, timeout) as client:
        infos = client.models.list()
    if as_json:
        print(json.dumps({"models": [info.model_dump(mode="json") for info in infos]}))
        return
    rows = [_cells(info) for info in infos]
    _print_table(("model", "family", "size", "latent", "classes", "checked"), rows)


def _cells(info: ModelInfo) -> tuple[str, ...]:
    height, width = info.image_size
    passed = info.certificate
    gates = "" if passed is None else f"{len(passed.gates)} gates"
    if passed is not None and passed.allowed:
        gates += f", {len(passed.allowed)} let through"
    return (
        f"{info.name} (default)" if info.default else info.name,
        info.family,
        f"{height} x {width} {'grey' if info.channels == 1 else 'RGB'}",
        f"{info.latent_dim} {info.latent_distribution}",
        "none" if info.class_names is None else f"{len(info.class_names)}: {', '.join(info.class_names)}",
        gates,
    )


Out = Annotated[
    Place | None,
    typer.Option(
        "--out",
        metavar="FILE",
        parser=Place.of,
        help="The preview, a PNG, goes here or into this folder; - is stdout.",
    ),
]


def show(
    model: options.ModelArgument = None,
    out: Out = None,
    force: options.Force = False,
    graphics: options.Show = None,
    no_show: options.NoShow = False,
    url: options.Url = None,
    api_key: options.Key = None,
    timeout: options.Timeout = DEFAULT_TIMEOUT,
    as_json: options.Json = False,
) -> None:
    """Show a card, certificate and preview.

    \b
    Examples:
      gan-client show
      gan-client show digits --out preview.png
      gan-client show digits --json
    """
    from gan_client import output, terminal
    from gan_client.catalog import model_named
    from gan_client.client import GanClient

    to_stdout = options.takes_stdout(out, as_json)
    picture = options.shown(graphics, no_show, silent=as_json or to_stdout)
    wants_picture = picture is not Graphics.NONE and (picture is not None or sys.stdout.isatty())
    with GanClient(url, api_key, timeout) as client:
        detail = client.models.get(model or model_named(client, None).name)
        card = _if_there(client.models.card, detail.name) or ""
        preview = None
        if out is not None:
            preview = client.models.preview(detail.name)
        elif wants_picture:
            preview = _if_there(client.models.preview, detail.name)
    path = output.place_of(out, options.FOLDER, "preview.png")
    if out is not None and preview is not None:
        output.write_one(preview, path, force=force, other="--out")
    if to_stdout:
        return
    if as_json:
        print(json.dumps({**detail.model_dump(mode="json"), "card": card or None}))
        return
    if preview is not None and picture is not Graphics.NONE:
        terminal.show(output.picture(preview), picture)
    _print_model(detail, card)
    if out is not None:
        print(f"preview -> {path}")


def _if_there(fetch: Callable[[str], _T], name: str) -> _T | None:
    """What `fetch` gets for the generator `name`; an artifact may lack a card or a preview."""
    try:
        return fetch(name)
    except NotFoundError:
        return None


def _print_model(detail: ModelDetail, card: str) -> None:
    print_card(_console(), card, detail.name)
    _print_certificate(detail)


def print_card(console: Console, card: str, name: str) -> None:
    """The Markdown `card` of the generator `name`: laid out on a terminal, else as it is."""
    from rich.markdown import Markdown
    from rich.text import Text

    # The card is whatever somebody put into a folder: it must not steer the terminal.
    safe = "\n".join("".join(c if c.isprintable() or c == "\t" else "?" for c in line) for line in card.splitlines())
    if not safe.strip():
        console.print(Text(f"{one_line(name, 200)} has no card"))
    elif console.is_terminal:
        console.print(Markdown(_IMAGE.sub("", safe), hyperlinks=False))
    else:
        print(safe)


def _print_certificate(detail: ModelDetail) -> None:
    rows = []
    for result in detail.certificate.results:
        errors = result.against_float32
        passed = [gate.code for gate in result.gates if gate.passed]
        failed = [gate.code for gate in result.gates if not gate.passed]
        rows.append(
            (
                f"{result.variant}, {result.provider}",
                str(result.compared),
                f"{len(passed)} of {len(result.gates)}",
                "not measured" if errors is None else f"{errors.max_abs:.2e}",
                ", ".join(failed) or "none",
            )
        )
    _print_table(("certificate of", "images", "gates passed", "largest error", "failed, let through"), rows)
    digest = one_line(detail.artifact or "unknown", 80)[:_DIGEST]
    print(f"artifact {digest}, loaded {one_line(detail.loaded_at or 'at an unknown time', 40)}")


def health(
    url: options.Url = None,
    api_key: options.Key = None,
    timeout: options.Timeout = DEFAULT_TIMEOUT,
    as_json: options.Json = False,
) -> None:
    """Ask whether the service is ready; exit code 0 if it is.

    \b
    Example:
      gan-client health --url http://gpu-box:3000
    """
    from gan_client.client import GanClient

    with GanClient(url, api_key, timeout) as client:
        answer = client.health()
    if as_json:
        print(json.dumps({"url": client.base_url, "ready": answer.ready, "status": answer.status}))
        raise typer.Exit(0 if answer else 1)
    if not answer:
        raise UnavailableError(f"{client.base_url} is not ready (HTTP {answer.status}): starting or draining")
    print(f"{client.base_url} is ready")


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal. Its first column, whose cells people copy, is broken last; nothing is cut."""
    from rich.table import Column, Table
    from rich.text import Text

    console = _console()
    shown = [[Text(one_line(cell, 200)) for cell in row] for row in rows]
    table = Table(*(Column(name, overflow="fold") for name in head))
    widest = max([len(head[0]), *(row[0].cell_len for row in shown)])
    table.columns[0].width = min(widest, 2 * console.width // 5)
    for row in shown:
        table.add_row(*row)
    console.print(table)


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
