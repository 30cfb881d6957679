"""A generator of a public repository: what its weights tell, what they don't tell, and how to build it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gan_export.conventions import CHANNELS, ImageShape
from gan_export.refusal import IntakeError
from gan_export.weights.loading import differences, load_exactly
from gan_export.weights.state import State, shown, unwrap
from gan_training.specs import Latent

from .question import IMAGE_SHAPE, Question

MAX_SIZE = 2**24  # of a dimension; the products of larger ones overflow


class MismatchError(Exception):
    """Why weights are not of a family: a phrase."""


class ForeignNet(nn.Module):
    """A generator called as net(z) or net(z, label): z (N, latent_dim), label (N,) int64 -> (N, C, H, W)."""

    def __init__(self, latent_dim: int, image_shape: ImageShape, classes: int = 0) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.classes = classes


def label_needed(label: Tensor | None, classes: int) -> Tensor:
    """The label of a conditional generator.

    Raises:
        ValueError: there is none.
    """
    if label is None:
        raise ValueError(f"this generator has {classes} classes: pass labels")
    return label


@dataclass(frozen=True)
class Fit:
    """Weights have the keys and shapes of a family; nothing says that they come from its code."""

    family: str
    computes: str  # what the family's code does and its keys don't record
    latent_dim: int
    classes: int
    image_shape: ImageShape | None  # channels, height, width; None if it has to be asked
    inferred: dict[str, int]
    questions: tuple[Question, ...]
    caveat: str  # that this is no proof, and what else has these keys

    @property
    def generator(self) -> str:
        """One line on the function; families of which it is the same are the same generator."""
        label = f", label 0..{self.classes - 1}" if self.classes else ""
        image = "x".join(map(str, self.image_shape)) if self.image_shape else "an image"
        return f"z {self.latent_dim}{label} -> {image}; {self.computes}"


@dataclass(frozen=True)
class Built:
    """A generator with its weights."""

    module: ForeignNet  # eval mode, float32
    latent_dim: int
    distribution: Latent
    classes: int  # 0 for an unconditional generator
    channels: int
    height: int  # pixels
    width: int  # pixels
    value_range: tuple[float, float]
    hyperparameters: dict[str, Any]
    caveat: str  # for the model card: the fit's, and what was answered


class Landmarks:
    """The shapes of a state dict, asked for one by one."""

    def __init__(self, state: State) -> None:
        self._state = state

    def sizes(self, key: str, ndim: int) -> tuple[int, ...]:
        """The shape of one tensor.

        Raises:
            MismatchError: it is not there, has another number of dimensions, or a size beyond 1 to MAX_SIZE.
        """
        if key not in self._state:
            raise MismatchError(f"{shown(key)} is missing")
        shape = tuple(self._state[key].shape)
        if len(shape) != ndim or not all(0 < size <= MAX_SIZE for size in shape):
            raise MismatchError(f"{shown(key)} has shape {shape}, not {ndim} dimensions of 1 to {MAX_SIZE}")
        return shape

    def __contains__(self, key: str) -> bool:
        return key in self._state


def _nothing_to_ask(_: Mapping[str, int]) -> tuple[Question, ...]:
    return ()


@dataclass(frozen=True)
class Family:
    """How to recognise, describe and rebuild the generators of one public training script."""

    name: str
    computes: str
    net: Callable[..., ForeignNet]  # called with what `infer` returned and the answers
    infer: Callable[[Landmarks], dict[str, int]]
    typical: Mapping[str, int]  # what `infer` would return for the repository's defaults
    ask: Callable[[Mapping[str, int]], tuple[Question, ...]] = _nothing_to_ask
    note: str = ""  # a sentence for the caveat
    distribution: Latent = "normal"
    ends_in: Literal["tanh", "sigmoid"] = "tanh"

    @property
    def value_range(self) -> tuple[float, float]:
        """Of the pixels."""
        return (0.0, 1.0) if self.ends_in == "sigmoid" else (-1.0, 1.0)

    @cached_property
    def typical_keys(self) -> frozenset[str]:
        """The keys of the repository's default net."""
        return frozenset(self._skeleton(self.typical).state_dict())

    def fit(self, state: State) -> Fit | None:
        """What keys and shapes tell, or None if they are not this family's."""
        try:
            return self.examine(state)
        except MismatchError:
            return None

    def examine(self, state: State) -> Fit:
        """Like `fit`.

        Raises:
            MismatchError: with the reason.
        """
        state = unwrap(state, self.typical_keys)
        inferred = self.infer(Landmarks(state))
        net = self._skeleton(inferred)
        difference = differences(
            {key: value.shape for key, value in net.state_dict().items()},
            {key: value.shape for key, value in state.items()},
        )
        if difference:
            raise MismatchError("; ".join(difference))
        questions = self.ask(inferred)
        asked = any(question.key == IMAGE_SHAPE for question in questions)
        if not asked and net.image_shape[0] not in CHANNELS:
            raise MismatchError(f"images have {net.image_shape[0]} channels; only 1 (grey) and 3 (RGB) can be exported")
        return Fit(
            family=self.name,
            computes=f"{self.computes}, {self.ends_in}",
            latent_dim=net.latent_dim,
            classes=net.classes,
            image_shape=None if asked else net.image_shape,
            inferred=inferred,
            questions=questions,
            caveat=(
                f"Keys and shapes of the weights are those of {self.name}; that they were trained with its code "
                f"({self.computes}, {self.ends_in}, {self.distribution} latents) is not recorded in them."
                + (f" {self.note}" if self.note else "")
            ),
        )

    def build(self, state: State, answers: Mapping[str, str]) -> Built:
        """The net with its weights.

        Args:
            state: plain weights, as `clean_state` and `fold_norms` leave them.
            answers: texts by the key of the question; what was inferred may be repeated, and must then agree.

        Raises:
            IntakeError: the weights are not this family's, or an answer is missing, wrong or not asked for.
        """
        try:
            fit = self.examine(state)
        except MismatchError as reason:
            raise IntakeError(
                f"the weights are not those of a {self.name} generator: {reason}; "
                "leave out --family to see which families fit"
            ) from reason
        settings = {**fit.inferred, **_settle(fit, answers)}
        net = self.net(**settings)
        load_exactly(net, unwrap(state, net.state_dict().keys()))
        channels, height, width = net.image_shape
        return Built(
            module=net.eval().requires_grad_(False),
            latent_dim=net.latent_dim,
            distribution=self.distribution,
            classes=net.classes,
            channels=channels,
            height=height,
            width=width,
            value_range=self.value_range,
            hyperparameters={key: list(v) if isinstance(v, tuple) else v for key, v in settings.items()},
            caveat=" ".join([fit.caveat, *(f"It was exported with {key}={text}." for key, text in answers.items())]),
        )

    def _skeleton(self, inferred: Mapping[str, int]) -> ForeignNet:
        with torch.device("meta"):  # no memory, whatever the file says
            return self.net(**inferred)


def _settle(fit: Fit, answers: Mapping[str, str]) -> dict[str, Any]:
    """The settings that were asked for."""
    asked = {question.key: question for question in fit.questions}
    known = {**fit.inferred, "latent_dim": fit.latent_dim, "classes": fit.classes}
    known_texts = {key: str(value) for key, value in known.items()}
    if fit.image_shape is not None:
        known_texts[IMAGE_SHAPE] = ",".join(map(str, fit.image_shape))
    for key, text in answers.items():
        if key not in asked and key not in known_texts:
            raise IntakeError(
                f"{fit.family} has no setting {shown(key)}; there are: {', '.join({**asked, **known_texts})}"
            )
        if key not in asked and text.replace(" ", "") != known_texts[key]:
            raise IntakeError(f"{key}={shown(text)} was given, but the weights have {key}={known_texts[key]}")
    return {key: _answer(fit, question, answers.get(key, question.default)) for key, question in asked.items()}


def _answer(fit: Fit, question: Question, text: str | None) -> Any:
    if text is None:
        raise IntakeError(f"{fit.family}: the weights don't determine its {question.key}; give {question}")
    try:
        return question.read(text)
    except ValueError as error:
        raise IntakeError(f"{question.key}={shown(text)}: {error}; give {question}") from error
