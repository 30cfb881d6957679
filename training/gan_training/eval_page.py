"""The evaluation as one self-contained HTML page: numbers, samples, nearest neighbours."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import torch
from jinja2 import Environment
from PIL import Image

from .checkpoint import CheckpointError
from .evaluate import Evaluation, Judge
from .grid import grid, write_whole
from .samples import Samples

SHOWN = 64  # images of each set
COLUMNS = 8


def write_page(
    path: Path,
    judge: Judge,
    judged: Sequence[tuple[Path, Samples, Evaluation]],
    meanings: Mapping[str, str],
    real: Mapping[str, str],
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: of the HTML file.
        judge: what the samples were compared with.
        judged: source, images and measurements of each set of samples.
        meanings: what each measure means, in the order to show.
        real: which measure of the real images stands beside which.

    Raises:
        CheckpointError: the file can't be written.
    """
    template = Environment(autoescape=True).from_string(
        resources.files(__package__).joinpath("eval_page.html").read_text("utf-8")
    )
    text = template.render(
        judge=judge,
        judged=[(source, _pictures(judge, samples), result.to_dict()) for source, samples, result in judged],
        meanings=meanings,
        real=real,
        real_picture=_inline(grid(judge.test.images[:SHOWN], COLUMNS)),
        shown=lambda value: "" if value is None else f"{value:.4g}",
    )
    try:
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: can't be written: {error.strerror}") from error


def _pictures(judge: Judge, samples: Samples) -> dict[str, str]:
    closest, nearest = judge.closest(samples)
    pairs = torch.stack([closest, judge.train.images[nearest.indices]], 1).flatten(0, 1)  # sample, neighbour, ...
    return {"samples": _inline(grid(samples.images[:SHOWN], COLUMNS)), "pairs": _inline(grid(pairs, COLUMNS))}


def _inline(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
