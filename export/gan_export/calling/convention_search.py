"""How a generator wants to be called, found out by calling it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from gan_export.conventions import BYTES, ImageShape, LabelInput, LatentShape, Order
from gan_export.refusal import IntakeError
from gan_export.user_code.errors import describe_error, place_of

from .adapter import Convention, call, path_words, pick, to_nchw, user_code
from .failures import NO_IMAGE, Failure, no_image, nothing_works
from .forward_hints import hints_of, parameters_of, second_of_no_known_name
from .missing_values import RefuseFreed, refuse_valueless
from .operations import operations_before
from .output_choice import place_of_images

TRIED_BATCHES: Final = (5, 7, 11, 13)
"""One of them is no other dimension; never 1, which a squeeze would swallow, nor 3, which is a number of channels."""
ABSENT: Final[Sequence[LabelInput]] = ("none", "null")
MADE: Final[Sequence[LabelInput]] = ("ids", "one_hot", "one_hot_map")  # of the ids
OPTIONS: Final = {
    "latent_shape": "--latent-shape flat|map",
    "label": "--label-as ids|one-hot|none",
    "order": "--argument-order latent-first|label-first",
    "image_shape": "--image-shape C,H,W",
}
SAME: Final = 1e-5  # relative to the largest value of an image


@dataclass(frozen=True)
class Asked:
    """What the user has said already; None is to be found out."""

    latent_shape: LatentShape | None = None
    label: Literal["ids", "one_hot", "none"] | None = None
    order: Order | None = None
    image_shape: ImageShape | None = None
    extras: tuple[tuple[str, Any], ...] = ()  # further arguments of forward, by name
    output: str | None = None  # where in forward's output the images are


@dataclass(frozen=True)
class _Attempt:
    convention: Convention
    image: Tensor  # (N, C, H, W)
    merits: int


def find_convention(module: nn.Module, latent_dim: int, classes: int, asked: Asked = Asked()) -> Convention:
    """The one way to call a generator; any that runs, where the same call gives other images each time.

    Args:
        module: in eval mode, weights loaded.
        latent_dim: length of a latent vector.
        classes: 0 for an unconditional generator.
        asked: what needs no finding out.

    Raises:
        IntakeError: none works, or several that give different images.
    """
    found = find_conventions(module, latent_dim, classes, asked)
    if len(found) == 1 or not _repeats(module, found[0]):  # its images differ for a reason that `check_complete` tells
        return found[0]
    differ = [option for name, option in OPTIONS.items() if len({getattr(one, name) for one in found}) > 1]
    ways = "; or ".join(one.describe() for one in found)
    raise IntakeError(
        f"forward can be called in {len(found)} ways that give different images: {ways}. Choose with: "
        f"{' '.join(differ)}"
    )


def find_conventions(module: nn.Module, latent_dim: int, classes: int, asked: Asked = Asked()) -> list[Convention]:
    """All ways to call a generator that give different images and are equally good; the plainest first.

    Better is what heeds labels, heeds latents and keeps the images of a batch apart.

    Raises:
        IntakeError: no way runs and gives images, or several of its outputs could be them.
    """
    dims = {latent_dim, classes, *(asked.image_shape or ())}
    batch = next((size for size in TRIED_BATCHES if size not in dims), TRIED_BATCHES[-1])
    attempts: list[_Attempt] = []
    failures: list[Failure] = []
    for draft in _drafts(module, latent_dim, classes, asked):
        made = _attempt(module, draft, batch, asked)
        if isinstance(made, Failure):
            failures.append(made)
        elif not any(alike(made.image, other.image) for other in attempts):
            attempts.append(made)
    if not attempts and _takes_list(module, _drafts(module, latent_dim, classes, asked), batch, asked):
        first = next(iter(parameters_of(module, dict(asked.extras))))
        raise IntakeError(
            f"forward takes latents in a list, {first}=[z]: write a subclass whose forward(self, z) gives "
            "super().forward([z]), and name it in --module"
        )
    if not attempts:
        raise IntakeError(nothing_works(module, classes, failures, dict(asked.extras)))
    best = max(attempt.merits for attempt in attempts)
    return [attempt.convention for attempt in attempts if attempt.merits == best]


def _drafts(module: nn.Module, latent_dim: int, classes: int, asked: Asked) -> Iterator[Convention]:
    """Conventions that the signature leaves possible; layout and shape are not known yet."""
    hints = hints_of(module, dict(asked.extras))
    latents: Sequence[LatentShape] = [asked.latent_shape] if asked.latent_shape else ["flat", "map"]
    labels = _labels_to_try(module, classes, asked, hints.takes_label)
    orders: Sequence[Order] = ["latent_first", "label_first"]
    if asked.order or hints.order:
        orders = [way for way in orders if way == (asked.order or hints.order)]
    for latent, label, way in itertools.product(latents, labels, orders):
        if label in ABSENT and way != orders[0]:
            continue
        yield Convention(
            latent_dim,
            classes,
            latent,
            label,
            "latent_first" if label == "none" else way,
            layout="nchw",
            image_shape=(0, 0, 0),
            label_name=hints.label_name,
            extras=asked.extras,
        )


def _labels_to_try(module: nn.Module, classes: int, asked: Asked, takes_label: bool) -> Sequence[LabelInput]:
    if asked.label == "none":
        return ABSENT
    if not classes and asked.label is None:
        return ABSENT if takes_label else ["none"]
    if not classes or not takes_label:
        return []
    if asked.label is not None:
        return [way for way in MADE if way.startswith(asked.label)]
    if second_of_no_known_name(parameters_of(module, dict(asked.extras))):
        # Perhaps no label at all: a map of zeros and ones would be multiplied with about anything.
        return ["ids", "one_hot"]
    return MADE


def _attempt(module: nn.Module, draft: Convention, batch: int, asked: Asked) -> _Attempt | Failure:
    generator = torch.Generator().manual_seed(batch)
    z = torch.randn(batch, draft.latent_dim, generator=generator)
    label = None
    if draft.classes and draft.label not in ABSENT:
        label = torch.arange(batch) % draft.classes
        label[-1] = draft.classes - 1  # one class too many shows here
    words = _call_words(draft)
    done = 0

    def count(*_: Any) -> None:
        nonlocal done
        done += 1

    hook = register_module_forward_hook(count)
    try:
        output = run_once(module, draft, z, label)
    except IntakeError as error:
        place = place_of(error)
        raise IntakeError(f"{error}{f' ({place})' * bool(place)}") from error
    except Exception as error:  # noqa: BLE001 - somebody else's forward may raise anything
        return Failure(
            words, describe_error(error), done, operations_before(module, lambda: run_once(module, draft, z, label))
        )
    finally:
        hook.remove()
    convention = _with_image(draft, output, batch, asked.image_shape, asked.output)
    if convention is None:
        return Failure(words, no_image(output, batch, asked.image_shape), NO_IMAGE)
    image = image_of(output, convention)
    try:
        merits = _merits(module, convention, z, label, image)
    except Exception:  # noqa: BLE001 - it ran once, so it is a convention, though a poor one
        merits = 0
    return _Attempt(convention, image, merits)


class _Listed(nn.Module):
    """Called with latents in a list of one, as StyleGAN2 mixes the styles of several."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latent: Tensor, *rest: Any, **named: Any) -> Any:
        return self.generator([latent], *rest, **named)


def _takes_list(module: nn.Module, drafts: Iterator[Convention], batch: int, asked: Asked) -> bool:
    """Whether a forward that can't be called in any other way gives images for latents in a list."""
    listed = _Listed(module).eval()
    for draft in drafts:
        if draft.order == "latent_first":
            with contextlib.suppress(IntakeError):  # several outputs, say: that is to be asked for afterwards
                if isinstance(_attempt(listed, draft, batch, asked), _Attempt):
                    return True
    return False


def _merits(module: nn.Module, convention: Convention, z: Tensor, label: Tensor | None, image: Tensor) -> int:
    """How many of the three hold: images keep apart, latents matter, labels matter."""
    flipped = image_of(run_once(module, convention, z.flip(0), None if label is None else label.flip(0)), convention)
    apart = alike(flipped.flip(0), image)
    same = None if label is None else torch.zeros_like(label)
    latents = _differ(image_of(run_once(module, convention, z, same), convention))
    labels = True
    if label is not None and convention.classes > 1:
        labels = _differ(image_of(run_once(module, convention, z[:1].expand_as(z).contiguous(), label), convention))
    return apart + latents + labels


def run_once(module: nn.Module, convention: Convention, z: Tensor, label: Tensor | None, seed: int = 0) -> Any:
    """Whatever forward gives for latents (N, latent_dim) and ids (N,), with one state of the random numbers for all.

    `seed`: of that state.

    Raises what the module raises, and IntakeError where it computes with tensors without values; what it prints goes to
    stderr, and its warnings are not shown.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]), user_code(), RefuseFreed():  # type: ignore[no-untyped-call]
        # Noise inside must not look like an effect of the inputs. torch.manual_seed would set that of GPUs too.
        torch.default_generator.manual_seed(seed)
        # Copies: a forward may write into what it is given.
        return call(module, convention, z.clone(), None if label is None else label.clone())


def image_of(output: Any, convention: Convention) -> Tensor:
    """The images in an output of forward, (N, C, H, W) in float32, on the range that the module gives.

    Raises IntakeError if they have no values.
    """
    image = pick(output, convention.output)
    refuse_valueless(image, f"forward's {path_words(convention.output)}")
    return to_nchw(image, convention.layout, convention.image_shape).float()


def _with_image(
    draft: Convention, output: Any, batch: int, wanted: ImageShape | None, asked: str | None
) -> Convention | None:
    """The convention with the place, layout and shape of the output's images; IntakeError: they are to be asked for."""
    place = place_of_images(output, batch, wanted, asked)
    if place is None:
        return None
    own = BYTES if place.tensor.dtype == torch.uint8 else draft.value_range
    return replace(draft, layout=place.layout, image_shape=place.image_shape, output=place.path, value_range=own)


def alike(first: Tensor, second: Tensor) -> bool:
    """Whether images are the same but for rounding: to `SAME` times the largest value of the first."""
    scale = max(1e-3, float(first.abs().max()))
    return first.shape == second.shape and bool(((first - second).abs() <= SAME * scale).all())


def _repeats(module: nn.Module, convention: Convention) -> bool:
    """Whether it gives the same images when it is called twice."""
    z = torch.randn(TRIED_BATCHES[0], convention.latent_dim, generator=torch.Generator().manual_seed(0))
    label = None
    if convention.classes and convention.label not in ABSENT:
        label = torch.arange(len(z)) % convention.classes
    try:
        return alike(*(image_of(run_once(module, convention, z, label), convention) for _ in range(2)))
    except Exception:  # noqa: BLE001 - it ran at another batch, and what is wrong with this one is for others to tell
        return True


def _differ(images: Tensor) -> bool:
    return not alike(images[:1].expand_as(images), images)


def _call_words(draft: Convention) -> str:
    return draft.describe().partition(" -> ")[0]
