"""What whoever exports has said about a generator, beside the file itself."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Literal

from gan_export.artifact.latents import Distribution
from gan_export.artifact.manifest import check_class_names
from gan_export.conventions import ImageShape, LatentShape, Order, Range
from gan_export.refusal import IntakeError

Weights = Literal["ema", "raw"]
_OPTIONS: Final = {"latent_dim": "latent", "order": "argument_order"}  # what they are called on the command line


@dataclass(frozen=True)
class SourceOptions:
    """Options of `gan-export`; None is to be found out, or has no meaning for this kind of file."""

    weights: Weights = "ema"
    weights_key: str | None = None
    family: str | None = None
    module: str | None = None  # FILE.py:NAME
    init: Mapping[str, str] = field(default_factory=dict)
    forward: Mapping[str, str] = field(default_factory=dict)  # arguments of forward beside latents and labels
    latent_dim: int | None = None
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    distribution: Distribution | None = None
    latent_shape: LatentShape | None = None
    label_as: Literal["ids", "one_hot", "none"] | None = None
    order: Order | None = None
    image_shape: ImageShape | None = None
    output_range: Range | None = None
    latent_input: str | None = None  # names in an ONNX file
    label_input: str | None = None
    output: str | None = None  # in an ONNX file; of a module, the place in what forward returns, e.g. 1 or image.rgb

    def refuse_all_but(self, known: set[str], kind: str) -> None:
        """Raises IntakeError that names an option which has no meaning for this kind of file."""
        for one in fields(self):
            if one.name not in known | {"weights", "class_names"} and getattr(self, one.name) not in (None, {}):
                option = _OPTIONS.get(one.name, one.name).replace("_", "-")
                raise IntakeError(f"--{option} has no meaning for {kind}: leave it out")


def names_of(classes: int, asked: tuple[str, ...] | None, found: tuple[str, ...] = ()) -> list[str] | None:
    """The class names of a generator: those that were asked for, else its own, else its ids; None without classes.

    They are in Unicode's form NFC: the names of a Mac's folders are in another, in which nobody types them.

    Raises:
        IntakeError: another number of names than classes, or names that can't be told apart or sent.
    """
    given = asked or found or tuple(map(str, range(classes)))
    names = [unicodedata.normalize("NFC", name) for name in given]
    if asked is not None and len(asked) != classes:
        advice = "give one for each, on a line of its own" if classes else "leave them out"
        raise IntakeError(f"{len(asked)} class names were given, but the generator has {classes} classes: {advice}")
    if not classes:
        return None
    try:
        check_class_names(names)
    except ValueError as error:
        raise IntakeError(str(error)) from error
    return names
