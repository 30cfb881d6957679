"""manifest.json: everything that is known of an artifact, as a strict schema."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ._model import Strict, digest_of, first_duplicate
from .latents import SAMPLER, Distribution

MANIFEST_FILE: Final = "manifest.json"
CERTIFICATE_FILE: Final = "certificate.json"
PREVIEW_FILE: Final = "preview.png"
MAX_CLASS_NAME: Final = 200  # characters
MAX_LATENT: Final = 2**16  # length of a latent
MAX_VARIANTS: Final = 16
MAX_DIRECTIONS: Final = 8
"""Principal directions of a generator's latent space that a manifest has at most."""
_UNIT: Final = 1e-3  # by which a direction's length may differ from 1
IDENTITY_KEY: Final = "ganworks.manifest_sha256"
"""Key in an ONNX file's metadata_props under which `Manifest.identity()` stands."""

EXACT: Final = "fp32"
"""The variant that must give the reference's pixels; of others it is enough that the images look the same."""
LATENT_INPUT: Final = "z"
LABEL_INPUT: Final = "label"
IMAGE_OUTPUT: Final = "image"
PIXELS_OUTPUT: Final = "pixels"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
VariantName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,31}$")]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class TensorSpec(Strict):
    """One input or output of the graph; a string among the dimensions is a dynamic one."""

    name: str
    dtype: Literal["float32", "int64", "uint8"]
    shape: list[int | str]


class LatentSpec(Strict):
    """What a seed is turned into."""

    dim: Annotated[int, Field(ge=1, le=MAX_LATENT)]
    distribution: Distribution
    sampler: str


class ImageSpec(Strict):
    """What comes out."""

    height: Annotated[int, Field(ge=1)]  # pixels
    width: Annotated[int, Field(ge=1)]  # pixels
    channels: Literal[1, 3]
    mode: Literal["L", "RGB"]
    value_range: tuple[Finite, Finite]  # of the output `pixels`


class Rewrite(Strict):
    """A change of the graph that makes it faster and draws the same images."""

    name: str
    layer: str | None = None  # the submodule, as blocks.0; None: wherever it could be done
    speedup: Rate | None = None
    """Of the whole graph, measured on the exporting host when it was chosen; None: it only leaves out work, or is made
    for GPUs."""


class Variant(Strict):
    """One graph file with the common signature."""

    name: VariantName
    file: FileName
    sha256: Sha256
    images_per_second: dict[str, Rate]  # batch size -> rate, measured on the exporting host
    byte_products: bool | None = None
    """Whether that host's processor has instructions for int8 (`processor.adds_byte_products`); None: it did not tell,
    or an older artifact."""
    rewrites: list[Rewrite] = []  # noqa: RUF012 - pydantic copies it; a factory's value would not be left out below
    """What was changed in the graph, in this order; empty in older artifacts, and of fp32 with --portable."""


class Golden(Strict):
    """Stored inputs and the reference's own pixels for them."""

    file: FileName
    sha256: Sha256
    images: Annotated[int, Field(ge=1, le=2**20)]


class Provenance(Strict):
    """Where the weights come from."""

    source_sha256: Sha256
    weights: Literal["ema", "raw"]
    training: dict[str, Any]  # type, data, steps and the like, as far as the source says
    packages: dict[str, str]  # versions that made the artifact


class Properties(Strict):
    """What the certificate found to hold."""

    deterministic: bool
    batch_invariant: bool


def check_class_names(names: Sequence[str]) -> None:
    """Names that a request can carry and that tell classes apart.

    Raises:
        ValueError: none, two that are alike, or one that is empty, too long or not printable.
    """
    if not names:
        raise ValueError("class_names is empty; a generator without classes has null")
    for name in names:
        if not 0 < len(name) <= MAX_CLASS_NAME or not name.isprintable():
            raise ValueError(f"class name {name[:60]!r}: use 1 to {MAX_CLASS_NAME} printable characters")
    if (double := first_duplicate(names)) is not None:
        raise ValueError(f"class names must differ from each other: {double!r} stands for two")


class Manifest(Strict):
    """Schema version 1 of manifest.json."""

    schema_version: Literal[1] = 1
    name: ModelName
    family: str
    hyperparameters: dict[str, Any]
    latent: LatentSpec
    class_names: list[str] | None
    image: ImageSpec
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    provenance: Provenance
    properties: Properties
    golden: Golden
    variants: Annotated[list[Variant], Field(min_length=1, max_length=MAX_VARIANTS)]
    directions: Annotated[list[list[float]], Field(min_length=1, max_length=MAX_DIRECTIONS)] | None = None
    """Unit vectors of latent space along which the image changes most, the most effective first; None where no first
    layer was found to take them from."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        wanted = [LATENT_INPUT, LABEL_INPUT] if self.class_names is not None else [LATENT_INPUT]
        if [tensor.name for tensor in self.inputs] != wanted:
            raise ValueError(f"inputs must be {wanted}")
        if [tensor.name for tensor in self.outputs] != [IMAGE_OUTPUT, PIXELS_OUTPUT]:
            raise ValueError(f"outputs must be {[IMAGE_OUTPUT, PIXELS_OUTPUT]}")
        if self.latent.sampler != SAMPLER:
            raise ValueError(f"sampler is {self.latent.sampler!r}; this version knows {SAMPLER!r}")
        if self.class_names is not None:
            check_class_names(self.class_names)
        if (self.image.mode == "L") != (self.image.channels == 1):
            raise ValueError(f"mode {self.image.mode} does not fit {self.image.channels} channels")
        if (double := first_duplicate([variant.name for variant in self.variants])) is not None:
            raise ValueError(f"variants must have names of their own: {double!r} stands for two")
        for row in self.directions or ():
            if len(row) != self.latent.dim:
                raise ValueError(f"directions must have {self.latent.dim} numbers, as latents do; one has {len(row)}")
            if not abs(math.hypot(*row) - 1) < _UNIT:
                raise ValueError(f"directions must be vectors of length 1; one has {math.hypot(*row):.6g}")
        self._check_forms()
        return self

    def _check_forms(self) -> None:
        """Raises ValueError if a tensor has another type or shape than latents, labels or images of this generator."""
        pixels = [self.image.channels, self.image.height, self.image.width]
        wanted: dict[str, tuple[str, list[int]]] = {
            LATENT_INPUT: ("float32", [self.latent.dim]),
            LABEL_INPUT: ("int64", []),
            IMAGE_OUTPUT: ("uint8", pixels),
            PIXELS_OUTPUT: ("float32", pixels),
        }
        for tensor in (*self.inputs, *self.outputs):
            dtype, shape = wanted[tensor.name]
            if tensor.dtype != dtype or not tensor.shape or tensor.shape[1:] != shape:
                raise ValueError(f"{tensor.name} must be {dtype} with the shape ({', '.join(map(str, ['N', *shape]))})")

    @property
    def classes(self) -> int:
        """Number of classes; 0 for an unconditional generator."""
        return len(self.class_names) if self.class_names is not None else 0

    def identity(self) -> str:
        """sha256 of the manifest without its variants, which stands in every variant's ONNX metadata.

        The variants are left out because they hold the digests of the very files that carry this one; `variants_digest`
        is of them.
        """
        # Artifacts that were sealed before there were directions have to keep their identity.
        absent = {"directions"} if self.directions is None else set()
        content = self.model_dump(mode="json", exclude={"variants"} | absent)
        return digest_of(content)

    def variants_digest(self) -> str:
        """sha256 of the variants but for their rates, which stands in the certificate.

        The rates are left out because each export measures others, and a certificate of the same files is the same.
        """
        # Without defaults: a field that is added later leaves the digests of earlier artifacts as they are.
        listed = [
            variant.model_dump(mode="json", exclude={"images_per_second"}, exclude_defaults=True)
            for variant in self.variants
        ]
        return digest_of(listed)

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"
