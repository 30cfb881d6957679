"""The wire contract: every request and response body of the service. The server imports these classes."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints

from ._constants import KEY_POINT_LIMIT as KEY_POINT_LIMIT
from ._constants import LONGEST_NAME, MAX_COLUMNS, MAX_FPS, MAX_QUALITY, MAX_STEPS, MAX_TRUNCATION, MIN_STEPS
from ._constants import SEED_LIMIT as SEED_LIMIT
from ._wire import Answer, Body
from .certificate_types import CertificateSummary as CertificateSummary
from .model_types import ModelDetail as ModelDetail
from .model_types import ModelInfo as ModelInfo
from .model_types import ModelList as ModelList

Seed: TypeAlias = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]
ClassId: TypeAlias = Annotated[int, Field(ge=0)]
ClassName: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]
LatentRow: TypeAlias = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, fail_fast=True)
]
Truncation: TypeAlias = Annotated[float, Field(gt=0, le=MAX_TRUNCATION, allow_inf_nan=False)]
Columns: TypeAlias = Annotated[int, Field(ge=1, le=MAX_COLUMNS)]
Quality: TypeAlias = Annotated[int, Field(ge=1, le=MAX_QUALITY)]

Format: TypeAlias = Literal["json", "png", "webp", "jpeg", "npy", "zip", "ndjson"]
"""What `POST /generate` answers with."""

AnimationFormat: TypeAlias = Literal["gif", "webp", "png", "npy"]
"""What `POST /interpolate` answers with."""


class GenerateRequest(Body):
    """Body of `POST /generate`. Everything has a default: `{}` asks for one image."""

    model: ClassName | None = None
    """Name of the generator, 1 to 200 characters; when left out, the service's default one: `default` in /models."""

    n: Annotated[int, Field(ge=1)] | None = None
    """Number of images, from 1 to the service's GAN_MAX_N; default 1, or the number of `seeds` or `latents`."""

    seed: Seed | None = None
    """Seed of the first image, 0 <= seed < 2**53; image i has seed + i. Random when absent."""

    seeds: Annotated[list[Seed], Field(min_length=1, fail_fast=True)] | None = None
    """One seed for each image, 0 <= seed < 2**53, instead of `seed`."""

    label: ClassId | ClassName | Annotated[list[ClassId | ClassName], Field(min_length=1, fail_fast=True)] | None = None
    """Class id (0 or above) or class name (1 to 200 characters) for all images, or one for each; drawn from each
    image's seed when absent."""

    latents: Annotated[list[LatentRow], Field(min_length=1, fail_fast=True)] | None = None
    """n rows of latent_dim finite numbers, used as they are instead of being drawn from seeds."""

    truncation: Truncation | None = None
    """Cut normal latents to [-t, t], 0 < t <= 10. Smaller is more typical and less varied."""

    format: Format | None = None
    """`json` (base64 PNGs), `png`, `webp` or `jpeg` (one image or a contact sheet), `npy` (uint8 N,H,W,C), `zip` (a PNG
    each and `images.json`) or `ndjson` (a line for each image as soon as it is ready). When absent, the Accept header
    decides, else `json`."""

    columns: Columns | None = None
    """Columns of the contact sheet, 1 to 1000; near-square when absent."""

    quality: Quality | None = None
    """Quality of `jpeg` (default 90) or of lossy `webp` (lossless when absent), 1 to 100; for no other format."""


class InterpolateRequest(Body):
    """Body of `POST /interpolate`: a path through latent space from key point to key point, as frames."""

    model: ClassName | None = None
    """Name of the generator, 1 to 200 characters; when left out, the service's default one: `default` in /models."""

    seeds: Annotated[list[Seed], Field(min_length=2, max_length=KEY_POINT_LIMIT, fail_fast=True)] | None = None
    """The key points' seeds, 2 to 64, 0 <= seed < 2**53. A key frame is `/generate`'s image of its seed and
    label, to the byte."""

    latents: Annotated[list[LatentRow], Field(min_length=2, max_length=KEY_POINT_LIMIT, fail_fast=True)] | None = None
    """The key points themselves, 2 to 64 rows of latent_dim finite numbers, instead of `seeds`."""

    steps: Annotated[int, Field(ge=MIN_STEPS, le=MAX_STEPS)] = 16
    """Frames from one key point to the next, 2 to 240: key point i is frame i * steps. k key points make
    (k - 1) * steps + 1 frames, or k * steps with `loop`; the service's GAN_MAX_N is the upper limit."""

    label: (
        ClassId
        | ClassName
        | Annotated[list[ClassId | ClassName], Field(min_length=2, max_length=KEY_POINT_LIMIT, fail_fast=True)]
        | None
    ) = None
    """Class id (0 or above) or class name (1 to 200 characters) for all key points, or one for each of at most 64,
    which changes midway between them; drawn from each key point's seed when absent."""

    truncation: Truncation | None = None
    """Cut the key points' normal latents to [-t, t], 0 < t <= 10; not with `latents`."""

    loop: bool = False
    """Go on from the last key point to the first."""

    format: AnimationFormat | None = None
    """`gif` or `webp` (animations that repeat forever), `png` (a contact sheet) or `npy` (uint8 N,H,W,C). When absent,
    the Accept header decides, else `gif`."""

    fps: Annotated[int, Field(ge=1, le=MAX_FPS)] = 12
    """Frames per second of an animation, 1 to 60; a gif has 50 at most, as browsers slow down any faster one."""

    columns: Columns | None = None
    """Columns of the contact sheet, 1 to 1000; near-square when absent."""

    quality: Quality | None = None
    """Quality of a lossy `webp`, 1 to 100; lossless when absent. For no other format."""


class GeneratedImage(Answer):
    """One image of a `json` response (with `png`), or one entry of `images.json` in a `zip` (with `file`)."""

    seed: int | None
    """The seed this image was drawn from; null when the request carried latents."""

    label: int | None
    """Class id; null for an unconditional generator."""

    label_name: str | None = None
    """Class name of `label`; null for an unconditional generator."""

    png: str | None = None
    """The image as base64 PNG (format `json`)."""

    file: str | None = None
    """Name of the image's file in the archive (format `zip`)."""


class GenerateResponse(Answer):
    """Body of a `json` response of `POST /generate`, and `images.json` in a `zip`."""

    model: str
    """Name of the generator that drew the images."""

    images: list[GeneratedImage]
    """The images, in the order of the request."""


class ReloadReport(Answer):
    """Body of `POST /models/reload`: what the service found in its folders."""

    loaded: list[str]
    """Generators that are new, or in a new version."""

    unloaded: list[str]
    """Generators that are not served any more."""

    failed: dict[str, str]
    """What can't be served, with the reason; an older version that was served goes on being served."""


class ErrorDetail(Answer):
    """What went wrong, in one line."""

    code: str
    """Stable machine-readable code, e.g. `invalid_request`, `unknown_model`, `queue_full`."""

    message: str
    """One sentence with the offending value, the allowed range and what to do."""

    param: str | None = None
    """The request field at fault, if there is one."""


class ErrorBody(Answer):
    """Body of every response with a status of 400 or above."""

    error: ErrorDetail
    """What went wrong."""

    request_id: str
    """The request's X-Request-ID, for the service's log."""


class StreamedImage(Answer):
    """Line of an `ndjson` response: one image. Lines come in the order of the request."""

    type: Literal["image"] = "image"
    """Says which kind of line this is."""

    index: int
    """Place of the image in the request, from 0."""

    seed: int | None
    """The seed this image was drawn from; null when the request carried latents."""

    label: int | None
    """Class id; null for an unconditional generator."""

    label_name: str | None = None
    """Class name of `label`; null for an unconditional generator."""

    png: str
    """The image as base64 PNG."""


class StreamDone(Answer):
    """Last line of an `ndjson` response that is complete."""

    type: Literal["done"] = "done"
    """Says which kind of line this is."""

    count: int
    """Number of images that were sent."""

    model: str
    """Name of the generator that drew them."""


class StreamError(Answer):
    """Last line of an `ndjson` response that is not complete: the images after the last one sent are missing."""

    type: Literal["error"] = "error"
    """Says which kind of line this is."""

    error: ErrorDetail
    """What went wrong."""

    request_id: str
    """The request's X-Request-ID, for the service's log."""


StreamLine: TypeAlias = Annotated[StreamedImage | StreamDone | StreamError, Field(discriminator="type")]
"""One line of an `ndjson` response. A response whose last line is neither `done` nor `error` was cut off."""


class LatentsRequest(Body):
    """Body of `POST /latents`: the numbers that seeds stand for."""

    model: ClassName | None = None
    """Name of the generator, 1 to 200 characters; when left out, the service's default one: `default` in /models."""

    seeds: Annotated[list[Seed], Field(min_length=1, fail_fast=True)]
    """The seeds, 0 <= seed < 2**53 each; as many as a request may have images, 1 to the service's
    GAN_MAX_N."""

    truncation: Truncation | None = None
    """Cut normal latents to [-t, t], 0 < t <= 10, as `/generate` does."""


class LatentsResponse(Answer):
    """Body of a response of `POST /latents`. `/generate` with these latents and labels draws the seeds' images."""

    model: str
    """Name of the generator whose latents these are."""

    latents: list[list[float]]
    """A row of latent_dim numbers for each seed: float32 values, written so that they are read back exactly."""

    labels: list[int] | None
    """The class id that each seed draws when no label is asked for; null for an unconditional generator."""
