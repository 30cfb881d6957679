"""Every call of the service, defined once: arguments, documentation, what is sent and how the answer is read.

The methods of `Calls` and `ModelCalls` make an exchange; binding.py says what a caller gets of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args
from urllib.parse import quote

from pydantic import BaseModel

from . import answers
from .answers import Health
from .arguments import Label, choice_of, name_of
from .binding import call
from .exchange import Exchange
from .images import Generation
from .rendered import Animation, Frames, Latents, Rendered
from .requests import generate_request, interpolate_request, latents_request
from .types import GenerateRequest, ModelDetail, ModelInfo, ModelList

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

RenderFormat: TypeAlias = Literal["png", "webp", "jpeg", "npy", "zip", "json"]
"""What `render` can ask for: the formats that are one file."""

MotionFormat: TypeAlias = Literal["gif", "webp", "png"]
"""What `interpolate` can ask for; for an array there is `frames`."""

ModelInfos: TypeAlias = list[ModelInfo]
"""A class with a method `list` can't name the type."""


def generate_exchange(request: GenerateRequest) -> Exchange[Generation]:
    """`POST /generate`; `request.format` must be `zip`."""
    return Exchange("POST", "/generate", lambda answer: answers.generation(answer, request), body=_json(request))


class Calls:
    """The calls of a client."""

    @call
    def generate(
        self,
        n: int | None = None,
        label: Label | Iterable[Label] | None = None,
        *,
        seed: int | None = None,
        seeds: Iterable[int] | None = None,
        latents: ArrayLike | None = None,
        truncation: float | None = None,
        model: str | None = None,
    ) -> Exchange[Generation]:
        """Draw images. The same seed, label and generator give the same image, to the byte.

        Args:
            n: number of images, 1 to the service's limit; by default the number of `seeds`, `latents` or
                labels, else 1.
            label: class id (0, 1, ...) or class name for all images, or one for each; drawn from each image's
                seed when None.
            seed: image i has seed + i, 0 <= seed < 2**53; chosen at random here when None, so that a retry
                gives the same images.
            seeds: one seed for each image, instead of `seed`.
            latents: finite numbers (n, latent_dim), instead of seeds.
            truncation: cut normal latents to [-t, t], 0 < t <= 10.
            model: name of the generator; when None, the one that `models.list()` marks as default.

        Raises:
            InvalidArgumentError: an argument is out of its range; nothing was sent.
            GanError: any of its kinds; `gan_client.errors` draws the tree.
        """
        return generate_exchange(generate_request(n, label, seed, seeds, latents, truncation, model))

    @call
    def render(
        self,
        n: int | None = None,
        label: Label | Iterable[Label] | None = None,
        *,
        seed: int | None = None,
        seeds: Iterable[int] | None = None,
        latents: ArrayLike | None = None,
        truncation: float | None = None,
        model: str | None = None,
        format: RenderFormat = "png",
        columns: int | None = None,
        quality: int | None = None,
    ) -> Exchange[Rendered]:
        """Draw images as one file, made by the service: a picture, an array or an archive.

        Args:
            n, label, seed, seeds, latents, truncation, model: as in `generate`.
            format: `png`, `webp` or `jpeg` (one image, or a contact sheet), `npy` (uint8 (N, H, W, C)), `zip` (a
                PNG each and images.json) or `json` (base64 PNGs).
            columns: of a contact sheet, 1 to 1000; near-square when None.
            quality: 1 to 100, of `jpeg` (90 when None) and `webp` (lossless when None).

        Raises:
            InvalidArgumentError: an argument is out of its range; nothing was sent.
            GanError: any of its kinds.
        """
        choice_of("format", format, get_args(RenderFormat))
        request = generate_request(
            n, label, seed, seeds, latents, truncation, model, wanted=format, columns=columns, quality=quality
        )
        return Exchange(
            "POST", "/generate", lambda answer: answers.rendered(answer, request, format), body=_json(request)
        )

    @call
    def interpolate(
        self,
        seeds: Iterable[int] | None = None,
        *,
        latents: ArrayLike | None = None,
        steps: int = 16,
        label: Label | Iterable[Label] | None = None,
        truncation: float | None = None,
        loop: bool = False,
        model: str | None = None,
        fps: int = 12,
        format: MotionFormat = "gif",
        columns: int | None = None,
        quality: int | None = None,
    ) -> Exchange[Animation]:
        """Draw the way through latent space from image to image, as an animation or a contact sheet.

        For the frames as an array there is `frames`.

        Args:
            seeds: the key points, 2 to 64 seeds, 0 <= seed < 2**53; frame i * steps is `generate`'s image of seeds[i].
            latents: the key points themselves, finite numbers (2 to 64, latent_dim), instead of seeds.
            steps: frames from one key point to the next, 2 to 240.
            label: class id or class name for all key points, or one for each, which changes midway; drawn from
                each key point's seed when None.
            truncation: cut the key points' normal latents to [-t, t], 0 < t <= 10; not with `latents`.
            loop: go on from the last key point to the first.
            model: name of the generator; when None, the one that `models.list()` marks as default.
            fps: frames per second, 1 to 60; a GIF has 50 at most.
            format: `gif`, `webp` (animations that repeat for ever) or `png` (a contact sheet).
            columns: of the contact sheet, 1 to 1000; near-square when None.
            quality: of a lossy `webp`, 1 to 100; lossless when None.

        Raises:
            InvalidArgumentError: an argument is out of its range; nothing was sent.
            GanError: any of its kinds.
        """
        choice_of("format", format, get_args(MotionFormat))
        request = interpolate_request(
            seeds, latents, steps, label, truncation, loop, model,
            wanted=format, fps=fps, columns=columns, quality=quality,
        )  # fmt: skip
        return Exchange("POST", "/interpolate", lambda answer: answers.animation(answer, format), body=_json(request))

    @call
    def frames(
        self,
        seeds: Iterable[int] | None = None,
        *,
        latents: ArrayLike | None = None,
        steps: int = 16,
        label: Label | Iterable[Label] | None = None,
        truncation: float | None = None,
        loop: bool = False,
        model: str | None = None,
    ) -> Exchange[Frames]:
        """Draw the way through latent space as an array: the frames of `interpolate`, for computing with them.

        Args:
            seeds, latents, steps, label, truncation, loop, model: as in `interpolate`.

        Raises:
            InvalidArgumentError: an argument is out of its range; nothing was sent.
            GanError: any of its kinds.
        """
        request = interpolate_request(seeds, latents, steps, label, truncation, loop, model, wanted="npy")
        return Exchange("POST", "/interpolate", answers.frames, body=_json(request))

    @call
    def latents(
        self, seeds: Iterable[int], *, truncation: float | None = None, model: str | None = None
    ) -> Exchange[Latents]:
        """What seeds stand for: their latents, and the labels they draw; for moving about in latent space.

        Args:
            seeds: 1 to the service's limit of images, 0 <= seed < 2**53 each.
            truncation: cut normal latents to [-t, t], 0 < t <= 10.
            model: name of the generator; when None, the one that `models.list()` marks as default.

        Raises:
            InvalidArgumentError: an argument is out of its range; nothing was sent.
            GanError: any of its kinds.
        """
        request = latents_request(seeds, truncation, model)
        return Exchange("POST", "/latents", lambda answer: answers.latents(answer, request), body=_json(request))

    @call
    def health(self) -> Exchange[Health]:
        """Whether the service is ready, asked once: the question is about now.

        Raises GanError if there is no service to be asked.
        """
        return Exchange("GET", "/readyz", answers.health, successes=frozenset({200, 503}), retried=False)


class ModelCalls:
    """The calls of `client.models`."""

    @call
    def list(self) -> Exchange[ModelInfos]:
        """The generators that the service has loaded. Raises GanError."""
        read = answers.body_of(ModelList, "a list of models")
        return Exchange("GET", "/models", lambda answer: read(answer).models)

    @call
    def get(self, name: str) -> Exchange[ModelDetail]:
        """All that is known of one generator: its manifest, its certificate and what is running.

        Raises NotFoundError if the service has none of that name; GanError.
        """
        return Exchange("GET", _path(name), answers.body_of(ModelDetail, "a model's description"))

    @call
    def card(self, name: str) -> Exchange[str]:
        """A generator's model card, Markdown.

        Raises NotFoundError if the service has no such generator, or that one has no card; GanError.
        """
        return Exchange("GET", f"{_path(name)}/card", answers.card)

    @call
    def preview(self, name: str) -> Exchange[bytes]:
        """The contact sheet that was drawn when the generator was exported, PNG.

        Raises NotFoundError if the service has no such generator, or that one has no preview; GanError.
        """
        return Exchange("GET", f"{_path(name)}/preview.png", answers.preview)


def _path(name: str) -> str:
    return f"/models/{quote(name_of('name', name), safe='')}"


def _json(request: BaseModel) -> bytes:
    return request.model_dump_json(exclude_none=True).encode()
