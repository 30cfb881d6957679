"""All families, and which of them weights could be of."""

from __future__ import annotations

from collections.abc import Sequence

from gan_export.refusal import IntakeError
from gan_export.weights.state import State, shown, unwrap

from . import mimicry, pytorch_examples, pytorch_gan_conv, pytorch_gan_mlp, studiogan, torchgan
from .family import Family, Fit, MismatchError

FAMILIES: tuple[Family, ...] = (
    pytorch_examples.DCGAN,
    pytorch_examples.COLLECTIONS_DCGAN,
    pytorch_gan_conv.DCGAN,
    pytorch_gan_conv.DRAGAN,
    pytorch_gan_conv.ACGAN,
    pytorch_gan_conv.SGAN,
    pytorch_gan_mlp.GAN,
    pytorch_gan_mlp.WGAN,
    pytorch_gan_mlp.WGAN_GP,
    pytorch_gan_mlp.CGAN,
    mimicry.SNGAN_32,
    mimicry.DCGAN_32,
    mimicry.DCGAN_CIFAR,
    studiogan.DEEP_CONV,
    torchgan.DCGAN,
    torchgan.CGAN,
    torchgan.ACGAN,
)


def find_family(name: str) -> Family:
    """A family by its name.

    Raises:
        IntakeError: it is not known.
    """
    for family in FAMILIES:
        if family.name == name:
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise IntakeError(f"{shown(name)}: no such family; known families: {known}")


def fitting(state: State) -> list[Fit]:
    """The families whose keys and shapes these weights have, which says nothing of what they were trained with."""
    return [fit for family in FAMILIES if (fit := family.fit(state)) is not None]


def explain(fits: Sequence[Fit]) -> str:
    """Which families fit and what would differ between them: a line for each generator and for each question."""
    groups: dict[str, list[Fit]] = {}
    for fit in fits:
        groups.setdefault(fit.generator, []).append(fit)
    lines = []
    for generator, same in groups.items():
        twins = " (the same generator)" if len(same) > 1 else ""
        lines.append(f"{' or '.join(fit.family for fit in same)}{twins}: {generator}")
    lines += dict.fromkeys(str(question) for fit in fits for question in fit.questions)
    if len(groups) > 1:
        lines.append("keys and shapes fit all of these, and the images would differ: give --family NAME")
    elif groups:
        lines.append("keys and shapes fit, which is not proof: give --family NAME to confirm it")
    return "\n".join(lines)


def nearest(state: State) -> str:
    """Of weights that no family fits: which comes nearest and why it does not fit, in a phrase."""
    family = max(FAMILIES, key=lambda family: _likeness(family, state))
    if not _likeness(family, state):
        key = next((key for key, value in state.items() if value.ndim > 1), next(iter(state), ""))
        return f"no known family has keys like {shown(key)}; give --module FILE.py:CLASS --latent D"
    try:
        family.examine(state)
    except MismatchError as reason:
        return f"the nearest known family is {family.name}, but {reason}; give --module FILE.py:CLASS --latent D"
    return f"{family.name} fits"


def _likeness(family: Family, state: State) -> float:
    """Share of keys that are in both, of the keys that are in one at least."""
    keys = unwrap(state, family.typical_keys).keys()
    return len(keys & family.typical_keys) / len(keys | family.typical_keys)
