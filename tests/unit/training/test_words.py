"""Words of messages."""

import pytest

from gan_training.words import counted, did_you_mean


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (20_000, "20,000 steps"), (0.5, "0.5 steps")]
)
def test_counts_have_the_right_plural(count: float, words: str):
    assert counted(count, "step") == words


@pytest.mark.parametrize(
    ("text", "known", "words"),
    [
        ("tranlate", ["translate", "latent", "steps"], "; did you mean translate? Use another"),
        ("CGAN", ["dcgan", "cgan", "acgan", "wgan"], "; did you mean cgan? Use another"),
        ("gan", ["dcgan", "cgan", "acgan", "wgan"], "; use another"),
        ("cifar", ["digits", "mnist"], "; use another"),
        ("x", [], "; use another"),
    ],
)
def test_the_one_nearest_name_is_suggested(text: str, known: list[str], words: str):
    assert did_you_mean(text, known, "use another") == words
