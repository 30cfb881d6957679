"""An ONNX file made elsewhere as the source of an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gan_export.conventions import LABEL_FORMS, LATENT_FORMS
from gan_export.graphs.reading import read_graph
from gan_export.graphs.signature import GraphOptions
from gan_export.refusal import IntakeError

from .options import names_of
from .source import Source, image_spec, latent_spec

__all__ = ["FAMILY", "GraphOptions", "load_graph"]

FAMILY: Final = "onnx"
MAX_NAME: Final = 64
NO_MODULE: Final = (
    "There is no module to compare with: the graph was made elsewhere, and was only compared with itself, "
    "run without optimisations."
)


def load_graph(path: Path, options: GraphOptions) -> Source:
    """Read a generator from an ONNX file that somebody else made.

    Args:
        path: of the file.
        options: what the file does not tell.

    Raises:
        IntakeError: it can't be read, is not safe, or does not tell enough; one line that says what to give.
    """
    contents = read_graph(path, options)
    told = contents.told
    names = None if options.class_names is None else tuple(options.class_names)
    try:
        class_names = names_of(told["classes"], names)
        latent = latent_spec(told["latent_dim"], options.distribution)
    except IntakeError as error:
        raise IntakeError(f"{path}: {error}") from error
    return Source(
        generator=contents.model,
        family=FAMILY,
        hyperparameters=_hyperparameters(told),
        latent=latent,
        image=image_spec(*told["image_shape"]),
        class_names=class_names,
        sha256=told["sha256"],
        weights="raw",
        training={},
        notes=(NO_MODULE, _conventions(told)),
    )


def _hyperparameters(told: Mapping[str, Any]) -> dict[str, Any]:
    names = {key: _plain(told[key]) for key in ("producer", "latent_input", "label_input", "output")}
    convention = ("latent_dim", "latent_shape", "label", "classes", "layout", "image_shape", "value_range")
    return {"opset": told["opset"], **names, "convention": {key: told[key] for key in convention}}


def _conventions(told: Mapping[str, Any]) -> str:
    """How the file's own graph is called, in words."""
    latent = LATENT_FORMS[told["latent_shape"]].format(**told)
    kind = told["label"]
    labels = "" if kind == "none" else f" and {'labels as ' * (kind == 'ids')}{LABEL_FORMS[kind].format(**told)}"
    low, high = told["value_range"]
    return (
        f"Its own graph takes latents {latent}{labels} and gives images as {told['layout'].upper()} "
        f"on [{low:g}, {high:g}]."
    )


def _plain(name: str | None) -> str | None:
    """A name of the file, fit for a manifest."""
    return None if name is None else "".join(one for one in name if one.isprintable())[:MAX_NAME]
