"""How a generator wants to be called, found out by calling it."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from .adapter import (
    CHANNELS,
    Convention,
    ImageShape,
    LabelInput,
    LatentShape,
    Order,
    call,
    pick,
    read_layout,
    tensors_in,
    to_nchw,
    user_code,
)
from .refusal import IntakeError
from .user_module import told

LATENT_NAMES: Final = {"z", "noise", "latent", "latents", "latent_code", "input", "inputs", "x", "noise_vector"}
LABEL_NAMES: Final = {
    *("y", "label", "labels", "gen_labels", "c", "cls", "class_label", "class_labels", "class_id", "class_ids"),
    *("class_vector", "classes", "target", "targets", "one_hot", "onehot", "cond", "condition"),
}
BATCHES: Final = (3, 5, 7, 11)  # one of them is no other dimension; never 1, which a squeeze would swallow
ABSENT: Final = ("none", "null")
OPTIONS: Final = {
    "latent_shape": "--latent-shape flat|map",
    "label": "--label-as ids|one-hot|none",
    "order": "--argument-order latent-first|label-first",
    "image_shape": "--image-shape C,H,W",
}
_GIVEN_ALONE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_SUBCLASS: Final = "write a subclass whose forward(self, z, label) takes ids and does the rest, and name it in --module"
_NO_IMAGE: Final = 1_000_000  # deeper than any that failed: it ran
SAME: Final = 1e-5  # relative to the largest value of an image


@dataclass(frozen=True)
class Asked:
    """What the user has said already; None is to be found out."""

    latent_shape: LatentShape | None = None
    label: Literal["ids", "one_hot", "none"] | None = None
    order: Order | None = None
    image_shape: ImageShape | None = None
    extras: tuple[tuple[str, Any], ...] = ()  # further arguments of forward, by name


@dataclass(frozen=True)
class _Attempt:
    convention: Convention
    image: Tensor  # (N, C, H, W)
    merits: int


@dataclass(frozen=True)
class _Failure:
    words: str
    reason: str
    depth: int  # submodules that had finished


def find_convention(module: nn.Module, latent_dim: int, classes: int, asked: Asked = Asked()) -> Convention:
    """The one way to call a generator.

    Args:
        module: in eval mode, weights loaded.
        latent_dim: length of a latent vector.
        classes: 0 for an unconditional generator.
        asked: what needs no finding out.

    Raises:
        IntakeError: none works, or several that give different images.
    """
    found = find_conventions(module, latent_dim, classes, asked)
    if len(found) == 1:
        return found[0]
    differ = [option for name, option in OPTIONS.items() if len({getattr(one, name) for one in found}) > 1]
    ways = "; or ".join(one.describe() for one in found)
    raise IntakeError(
        f"forward can be called in {len(found)} ways that give different images: {ways}. Say which: {' '.join(differ)}"
    )


def find_conventions(module: nn.Module, latent_dim: int, classes: int, asked: Asked = Asked()) -> list[Convention]:
    """All ways to call a generator that give different images and are equally good; the plainest first.

    Better is what heeds labels, heeds latents and keeps the images of a batch apart.

    Raises:
        IntakeError: no way runs and gives images.
    """
    dims = {latent_dim, classes, *(asked.image_shape or ())}
    batch = next((size for size in BATCHES if size not in dims), BATCHES[-1])
    attempts: list[_Attempt] = []
    failures: list[_Failure] = []
    for draft in _drafts(module, latent_dim, classes, asked):
        made = _attempt(module, draft, batch, asked.image_shape)
        if isinstance(made, _Failure):
            failures.append(made)
        elif not any(alike(made.image, other.image) for other in attempts):
            attempts.append(made)
    if not attempts:
        raise IntakeError(_nothing_works(module, classes, failures, dict(asked.extras)))
    best = max(attempt.merits for attempt in attempts)
    return [attempt.convention for attempt in attempts if attempt.merits == best]


def _drafts(module: nn.Module, latent_dim: int, classes: int, asked: Asked) -> Iterator[Convention]:
    """Conventions that the signature leaves possible; layout and shape are not known yet."""
    order, label_name, takes_label = _hints(module, dict(asked.extras))
    latents: Sequence[LatentShape] = [asked.latent_shape] if asked.latent_shape else ["flat", "map"]
    labels: Sequence[LabelInput] = ["ids", "one_hot", "one_hot_map"] if classes and takes_label else []
    if not classes:
        labels = ["none", "null"] if takes_label else ["none"]
    elif takes_label and _second_of_no_known_name(_parameters(module, dict(asked.extras))) and asked.label is None:
        # Perhaps no label at all: a map of zeros and ones would be multiplied with about anything.
        labels = ["ids", "one_hot"]
    if asked.label is not None:
        labels = ["none", "null"] if asked.label == "none" else [way for way in labels if way.startswith(asked.label)]
    orders: Sequence[Order] = ["latent_first", "label_first"]
    if asked.order or order:
        orders = [way for way in orders if way == (asked.order or order)]
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
            label_name=label_name,
            extras=asked.extras,
        )


def _hints(module: nn.Module, extras: Mapping[str, Any]) -> tuple[Order | None, str | None, bool]:
    """What the names of forward's arguments tell: the order, the label's keyword, whether a label can be given."""
    given = inspect.signature(module.forward).parameters
    unknown = [name for name in extras if name not in given]
    if unknown and not any(one.kind is one.VAR_KEYWORD for one in given.values()):
        raise IntakeError(f"--forward {unknown[0]}: no such argument of forward({', '.join(given)})")
    parameters = [one for one in given.values() if one.name not in extras]
    by_position = [one for one in parameters if one.kind in _GIVEN_ALONE]
    if len(by_position) > 1 and by_position[1].name != [*given][1] and by_position[1].name.lower() in LABEL_NAMES:
        return "latent_first", by_position[1].name, True  # behind something that is given by name
    names = [one.name.lower() for one in by_position[:2]]
    later = [one for one in parameters if one not in by_position[:2] and one.name.lower() in LABEL_NAMES]
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None, None, True
    if later and not set(names) & LABEL_NAMES:
        return "latent_first", later[0].name, True
    if len(by_position) < 2:
        return "latent_first", None, False
    if names[1] in LABEL_NAMES and names[0] not in LABEL_NAMES:
        return "latent_first", None, True
    if names[0] in LABEL_NAMES and names[1] not in LABEL_NAMES:
        return "label_first", None, True
    if names[0] in LATENT_NAMES and names[1] not in LATENT_NAMES:
        # (z, truncation=1.0) takes no label, (z, extra=None) may.
        return "latent_first", None, by_position[1].default in (inspect.Parameter.empty, None)
    return None, None, by_position[1].default in (inspect.Parameter.empty, None)


def _attempt(module: nn.Module, draft: Convention, batch: int, wanted: ImageShape | None) -> _Attempt | _Failure:
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
    except Exception as error:  # noqa: BLE001 - somebody else's forward may raise anything
        return _Failure(words, told(error), done)
    finally:
        hook.remove()
    convention = _with_image(draft, output, batch, wanted)
    if convention is None:
        return _Failure(words, _no_image(output, wanted), _NO_IMAGE)
    image = image_of(output, convention)
    try:
        merits = _merits(module, convention, z, label, image)
    except Exception:  # noqa: BLE001 - it ran once, so it is a convention, though a poor one
        merits = 0
    return _Attempt(convention, image, merits)


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


def run_once(module: nn.Module, convention: Convention, z: Tensor, label: Tensor | None) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]), user_code():
        torch.manual_seed(0)  # noise inside must not look like an effect of the inputs
        # Copies: a forward may write into what it is given.
        return call(module, convention, z.clone(), None if label is None else label.clone())


def image_of(output: Any, convention: Convention) -> Tensor:
    return to_nchw(pick(output, convention.output), convention.layout, convention.image_shape).float()


def _with_image(draft: Convention, output: Any, batch: int, wanted: ImageShape | None) -> Convention | None:
    """The convention with the place, layout and shape of the output's images: the first, or larger ones like it."""
    found: list[Convention] = []
    for path, tensor in tensors_in(output):
        if tensor.is_floating_point() and tensor.ndim > 1 and len(tensor) == batch:
            reading = read_layout(tensor.shape, wanted)
            if reading is not None:
                found.append(replace(draft, layout=reading[0], image_shape=reading[1], output=path))
    # Several resolutions; but not attention maps (N, H*W, H*W), or feature maps of another number of channels.
    like = [one for one in found if (one.layout, one.image_shape[0]) == (found[0].layout, found[0].image_shape[0])]
    return max(like, key=lambda one: math.prod(one.image_shape), default=None)


def _no_image(output: Any, wanted: ImageShape | None) -> str:
    shapes = [tuple(tensor.shape) for _, tensor in tensors_in(output)]
    if not shapes:
        return f"it gives {type(output).__name__}, no tensor"
    given = ", ".join("(" + ", ".join(["N", *map(str, shape[1:])]) + ")" for shape in shapes)
    if wanted is not None:
        return f"it gives {given}, not images of --image-shape {','.join(map(str, wanted))}"
    if flat := [shape[1] for shape in shapes if len(shape) == 2]:
        return f"it gives {given}: say how that is an image with --image-shape C,H,W{_squares(flat[0])}"
    return f"it gives {given}, no images of 1 or 3 channels; --image-shape C,H,W says which shape they have"


def _squares(values: int) -> str:
    """Square images of so many values, as examples."""
    sides = {channels: math.isqrt(values // channels) for channels in CHANNELS}
    fits = [f"{channels},{side},{side}" for channels, side in sides.items() if channels * side**2 == values]
    return f" (the square one is {' or '.join(fits)})" if fits else ""


def alike(first: Tensor, second: Tensor) -> bool:
    scale = max(1e-3, float(first.abs().max()))
    return first.shape == second.shape and bool(((first - second).abs() <= SAME * scale).all())


def _differ(images: Tensor) -> bool:
    return not alike(images[:1].expand_as(images), images)


def _nothing_works(module: nn.Module, classes: int, failures: Sequence[_Failure], extras: Mapping[str, Any]) -> str:
    signature = f"forward({', '.join(inspect.signature(module.forward).parameters)})"
    parameters = _parameters(module, extras)
    _, _, takes_label = _hints(module, extras)
    if classes and not takes_label:
        return (
            f"{signature} takes no label: leave out --classes, or, if latents and labels are joined before it is "
            f"called, {_SUBCLASS}"
        )
    if not failures:
        return f"{signature} takes no such arguments: leave out --label-as and --argument-order"
    best = max(failures, key=lambda failure: failure.depth)
    tried = "; ".join(dict.fromkeys(part for failure in failures for part in failure.words.split(" then ")))
    reason = f"{signature} gives no images with {best.words}: {best.reason}"
    return f"{reason}. {_advice(parameters, classes, takes_label, best)}Tried: {tried}"


def _advice(parameters: Mapping[str, inspect.Parameter], classes: int, takes_label: bool, best: _Failure) -> str:
    """What to do about a forward that ran in no way; nothing if the reason says it."""
    needed = [one for one in parameters.values() if one.default is one.empty and one.kind in _GIVEN_ALONE]
    if len(needed) > 2:
        return (
            f"It needs {len(needed)} arguments, where there are latents and labels alone: give the others with "
            f"--forward {needed[-1].name}=VALUE, or {_SUBCLASS}. "
        )
    if best.depth == _NO_IMAGE:
        return ""
    second = _second_of_no_known_name(parameters)
    if takes_label and not classes and second is not None:
        return f"If {second} is its label, give --classes K; if it is not, --forward {second}=VALUE. "
    if takes_label and not classes:
        return "It seems to take labels: give --classes K. "
    if takes_label and second is not None:
        return f"If {second} is not its label, leave out --classes and give --forward {second}=VALUE. "
    if takes_label:
        return f"Look at --latent and --classes; if its labels are neither ids nor one-hot, {_SUBCLASS}. "
    return "Look at --latent. "


def _parameters(module: nn.Module, extras: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
    """Of forward, without those that are given by name."""
    return {name: one for name, one in inspect.signature(module.forward).parameters.items() if name not in extras}


def _second_of_no_known_name(parameters: Mapping[str, inspect.Parameter]) -> str | None:
    """The second argument that forward needs, where neither of the first two has the name of a label."""
    needed = [one.name for one in parameters.values() if one.default is one.empty and one.kind in _GIVEN_ALONE][:2]
    return needed[1] if len(needed) > 1 and not {name.lower() for name in needed} & LABEL_NAMES else None


def _call_words(draft: Convention) -> str:
    return draft.describe().partition(" -> ")[0]
