"""The wire contract of `/models` and `/models/{name}`. `gan_client.types` has all of these names too."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ._wire import Answer, Description
from .certificate_types import CertificateDetail, CertificateSummary


class ModelInfo(Answer):
    """What `/models` says of one generator."""

    name: str
    """Name to put into a request's `model`."""

    image_size: tuple[int, int]
    """Height and width in pixels."""

    channels: int
    """1 (grey) or 3 (RGB)."""

    latent_dim: int
    """Length of one latent vector."""

    latent_distribution: Literal["normal", "uniform"]
    """What latents are drawn from: N(0, 1), or uniform on [-1, 1]."""

    class_names: list[str] | None
    """Class names in the order of their ids; null for an unconditional generator."""

    family: str
    """Architecture family of the generator."""

    certificate: CertificateSummary | None = None
    """The summary of its certificate."""

    default: bool = False
    """Whether requests that name no model mean this one."""

    state: Literal["ready"] | None = None
    """Generators that are listed are `ready`; null from a service that doesn't say."""

    reason: str | None = None
    """Why it isn't what its folder holds now: a newer version was refused, or the folder is gone."""

    loaded_at: str | None = None
    """When this version was loaded, as ISO 8601 in UTC."""

    artifact: str | None = None
    """Digest of its manifest: another one means another version."""


class ModelList(Answer):
    """Body of `GET /models`."""

    models: list[ModelInfo]
    """The generators that are loaded, by name."""


class LatentDetail(Description):
    """What latents a generator takes."""

    dim: int
    """Length of one latent vector, at least 1."""

    distribution: Literal["normal", "uniform"]
    """What latents are drawn from: N(0, 1), or uniform on [-1, 1]."""

    sampler: str
    """Name and version of the rule that makes latents from seeds."""


class ImageDetail(Description):
    """What images a generator draws."""

    height: int
    """Pixels, at least 1."""

    width: int
    """Pixels, at least 1."""

    channels: int
    """1 (grey) or 3 (RGB)."""

    mode: str
    """Pillow's name of it: `L` or `RGB`."""

    value_range: list[float]
    """Lowest and highest value of the float output, [-1, 1]."""


class TensorDetail(Description):
    """An input or output of the graph."""

    name: str
    """Its name in the graph."""

    dtype: str
    """`float32`, `int64` or `uint8`."""

    shape: list[int | str]
    """Its dimensions; a dynamic one is its name, `N`."""


class RewriteDetail(Description):
    """A change of a graph that makes it faster and draws the same images."""

    name: str
    """Which change it is."""

    layer: str | None = None
    """The submodule that was changed, e.g. `blocks.0`; null for wherever it could be done."""

    speedup: float | None = None
    """Of the whole graph, measured on the exporting host; null if it only leaves out work, or is made for
    GPUs."""


class VariantDetail(Description):
    """One file that draws the generator's images."""

    name: str
    """`fp32`, or what it was made into."""

    file: str
    """Name of the file in the artifact."""

    sha256: str
    """Digest of the file, 64 hexadecimal digits."""

    images_per_second: dict[str, float]
    """Batch size -> images per second, measured on the exporting host."""

    byte_products: bool | None = None
    """Whether that host's processor has instructions for int8; None: not known."""

    rewrites: list[RewriteDetail] = Field(default_factory=list)
    """What was changed in the graph, in this order; empty for a plain graph."""


class ProvenanceDetail(Description):
    """Where a generator comes from."""

    source_sha256: str
    """Digest of the file it was exported from, 64 hexadecimal digits."""

    weights: str
    """`ema` for averaged weights, `raw` for those of the last step."""

    training: dict[str, Any]
    """Type of GAN, data, steps and the like, as far as the source says."""

    packages: dict[str, str]
    """Versions of the packages that made the artifact."""


class PropertiesDetail(Description):
    """What was found true of a generator."""

    deterministic: bool
    """Two runs give the same bytes."""

    batch_invariant: bool
    """An image doesn't depend on its neighbours in a batch."""


class GoldenDetail(Description):
    """The images that a generator is checked with when it is loaded."""

    file: str
    """Name of the file in the artifact."""

    sha256: str
    """Digest of the file, 64 hexadecimal digits."""

    images: int
    """How many images are in it, at least 1."""


class EngineDetail(Description):
    """What is running."""

    variant: str
    """Name of the variant that draws."""

    sha256: str
    """Digest of its file, 64 hexadecimal digits."""

    provider: str
    """ONNX Runtime's name of what runs it."""

    threads: int
    """Threads of its session; 0 for all cores."""

    lanes: int = 1
    """How many batches are drawn at the same time, at least 1."""


class ModelDetail(Description):
    """Body of `GET /models/{name}`: a generator's manifest and certificate, and what is running.

    Fields that a newer service or a newer artifact adds are kept in `model_extra`.
    """

    schema_version: int
    """Of the artifact's manifest: 1."""

    name: str
    """Name to put into a request's `model`."""

    family: str
    """Architecture family of the generator."""

    hyperparameters: dict[str, Any]
    """All that its architecture was built from."""

    latent: LatentDetail
    """What latents it takes."""

    class_names: list[str] | None
    """Class names in the order of their ids; null for an unconditional generator."""

    image: ImageDetail
    """What images it draws."""

    inputs: list[TensorDetail]
    """Inputs of its graph."""

    outputs: list[TensorDetail]
    """Outputs of its graph."""

    provenance: ProvenanceDetail
    """Where it comes from."""

    properties: PropertiesDetail
    """What was found true of it."""

    golden: GoldenDetail
    """The images that it is checked with when it is loaded."""

    directions: list[list[float]] | None = Field(default=None, repr=False)
    """Unit vectors of length latent_dim along which its images change most, at most 8; null if none were found."""

    variants: list[VariantDetail]
    """The files that draw its images, at least 1."""

    certificate: CertificateDetail = Field(repr=False)
    """The whole certificate."""

    certificate_summary: CertificateSummary
    """The certificate in short, as in `/models`."""

    state: Literal["ready"]
    """Generators that are served are `ready`."""

    reason: str | None
    """Why it isn't what its folder holds now: a newer version was refused, or the folder is gone."""

    loaded_at: str
    """When this version was loaded, as ISO 8601 in UTC."""

    artifact: str
    """Digest of its manifest: another one means another version."""

    engine: EngineDetail
    """What is running."""
