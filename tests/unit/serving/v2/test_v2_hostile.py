"""Requests of the inference protocol that lie about lengths, would become too much, or are broken at random."""

import copy
import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from v2_requests import CLASSES, DIM, LABELS, MAX_N, Z, binary_request, tensor

from gan_export.artifact import Manifest
from gan_serving.errors import BodyTooLargeError, InvalidRequestError
from gan_serving.v2.request import Inference, parse_inference
from gan_serving.v2.wire import inflate

MUTATIONS = 2000
MOST_MEMORY = 2**20  # bytes that parsing a body of a few hundred may take, whatever it claims
MEMORY_PER_BYTE = 12  # of a large body, when it is refused: its text, and copies of it


def refusal(manifest: Manifest, content: Any, binary: bytes = b"", length: str | None = None) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    if length is None:
        length = str(len(text))
    with pytest.raises(InvalidRequestError) as caught:
        parse_inference(text + binary, length, manifest, MAX_N)
    return caught.value.message


@pytest.mark.parametrize(
    "length",
    ["0", "-5", "+5", "5.0", "1e2", "", " 5", "0x20", "ten", "\u0663", "9" * 30, "9" * 5000, str(10**18), "10000"],
)
def test_header_lengths_that_lie_are_refused(conditional: Manifest, length: str) -> None:
    content, binary = binary_request()
    assert "Inference-Header-Content-Length" in refusal(conditional, content, binary, length)


@pytest.mark.parametrize("shift", [-40, -1, 1, 16])
def test_a_header_length_beside_the_true_one_is_refused(conditional: Manifest, shift: int) -> None:
    content, binary = binary_request()
    refusal(conditional, content, binary, str(len(json.dumps(content)) + shift))


@pytest.mark.parametrize(
    ("sizes", "binary", "word"),
    [
        ((24, 16), Z.tobytes() + LABELS.tobytes()[:-1], "15 bytes left"),
        ((24, 16), Z.tobytes() + LABELS.tobytes() + b"!", "41 bytes follow"),
        ((24, 16), b"", "0 bytes left"),
        ((20, 16), Z.tobytes() + LABELS.tobytes(), "needs 24 bytes"),
        ((-24, 16), Z.tobytes() + LABELS.tobytes(), "needs 24 bytes"),
        ((2**70, 16), Z.tobytes() + LABELS.tobytes(), "needs 24 bytes"),
        ((24.0, 16), Z.tobytes() + LABELS.tobytes(), "24.0"),
        ((True, 16), Z.tobytes() + LABELS.tobytes(), "True"),
        (("24", 16), Z.tobytes() + LABELS.tobytes(), "'24'"),
    ],
)
def test_binary_sizes_that_lie_are_refused(conditional: Manifest, sizes: tuple, binary: bytes, word: str) -> None:
    content, _ = binary_request()
    for entry, size in zip(content["inputs"], sizes, strict=True):
        entry["parameters"]["binary_data_size"] = size
    assert word in refusal(conditional, content, binary)


SIZE = 2**20
BOMBS = {
    "nested lists": b"[" * SIZE,
    "nested objects": b'{"a":' * (SIZE // 5),
    "empty lists": b'{"inputs": [' + b"[]," * (SIZE // 3) + b"[]]}",
    "empty objects": b'{"inputs": [' + b"{}," * (SIZE // 3) + b"{}]}",
    "numbers": b'{"inputs": [' + b"1.5," * (SIZE // 4) + b"1]}",
    "keys": b"{" + b",".join(b'"%d":1' % i for i in range(SIZE // 8)) + b"}",
    "one string": b'{"id": "' + b"x" * SIZE + b'", "inputs": []}',
    "one number": b'{"id": ' + b"1" * SIZE + b"}",
    "within the number of lists": b'{"inputs": ' + b"[" * 1001 + b"]" * 1001 + b"}",
    "a little deeper": b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_a_text_that_would_become_much_more_is_refused_first(conditional: Manifest, text: bytes) -> None:
    tracemalloc.start()
    try:
        message = refusal(conditional, text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(message) < 400
    assert peak < MOST_MEMORY + MEMORY_PER_BYTE * len(text)


@pytest.mark.parametrize("name", ["nested lists", "empty lists", "empty objects", "numbers", "keys"])
def test_the_worst_texts_are_not_even_parsed(conditional: Manifest, name: str) -> None:
    assert "more than any request here needs" in refusal(conditional, BOMBS[name])


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies_are_inflated_within_the_limit(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    body = bytes(range(256)) * 4
    assert inflate(compress(body), encoding, 1024) == body
    assert inflate(compress(body), f" {encoding.upper()} ", 2**20) == body
    with pytest.raises(BodyTooLargeError, match="1023 bytes"):
        inflate(compress(body), encoding, 1023)
    for broken in (compress(body)[:-3], compress(body) + b"!", compress(body) * 2, b"", b"plain", compress(body)[5:]):
        with pytest.raises(InvalidRequestError, match=encoding):
            inflate(broken, encoding, 2**20)
    bomb = compress(bytes(64 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            inflate(bomb, encoding, 2**20)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_other_encodings_are_refused_and_none_is_none() -> None:
    for encoding in ("", "identity", " Identity "):
        assert inflate(b"as it is", encoding, 8) == b"as it is"
    for encoding in ("br", "gzip, gzip", "zstd"):
        with pytest.raises(InvalidRequestError, match="expected gzip, deflate"):
            inflate(b"", encoding, 8)


ODD_VALUES = (
    None, True, -1, 0, 1, 2, 3, 6, 8, 9, 16, 24, 40, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308,
    "", "z", "label", "seed", "image", "FP32", "INT64", "UINT64", "BYTES", "BOOL", "\x00", "\ud800", "9" * 300,
    [], {}, [[]], [1, 2], [2, 3], [1] * 6, [0.5] * 6, [[0.5] * 3] * 2, [[[1]]], {"a": {"b": []}},
    {"binary_data_size": 24}, {"binary_data_size": 16}, {"name": "z"}, [{"name": "image"}],
)  # fmt: skip
ODD_LENGTHS = ("0", "-1", "", "nan", "1.5", " 7", "99999999999999999999999", "\u0663", "0x10", "1_0")


def places(content: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    found = []
    for key, value in list(items):
        found += [(content, key), *places(value)]
    return found


def mutated(rng: random.Random) -> tuple[bytes, str | None]:
    """A valid binary request with one to three things wrong, in its JSON, its bytes or its lengths."""
    content, binary = copy.deepcopy(binary_request())
    if rng.random() < 0.2:
        content["inputs"][1] = tensor("seed", "UINT64", LABELS) | {"name": rng.choice(["seed", "label"])}
    kinds = rng.choices(("value", "delete", "copy", "bytes", "cut", "grow", "length", "swap"), k=rng.randint(1, 3))
    for kind in kinds:
        container, key = rng.choice(places(content))
        if kind == "value":
            container[key] = copy.deepcopy(rng.choice(ODD_VALUES))
        elif kind == "delete":
            del container[key]
        elif kind == "copy" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        elif kind == "swap" and isinstance(container, dict):
            container[rng.choice(("data", "shape", "parameters", "name", "extra"))] = container[key]
    text = json.dumps(content).encode()
    length: str | None = str(len(text))
    body = bytearray(text + binary)
    for kind in kinds:
        at = rng.randrange(len(body) + 1)
        if kind == "bytes":
            for _ in range(rng.randint(1, 4)):
                body[rng.randrange(len(body))] = rng.randrange(256)
        elif kind == "cut":
            del body[at:]
            body = body or bytearray(b"{")
        elif kind == "grow":
            body[at:at] = rng.randbytes(rng.randint(1, 40))
        elif kind == "length":
            odd = [*ODD_LENGTHS, str(rng.randrange(2 * len(body))), str(len(text) + rng.randint(-3, 3))]
            length = rng.choice([None, *odd])
    return bytes(body), length


def test_random_mutations_give_a_refusal_or_a_sound_request_and_never_much_memory(conditional: Manifest) -> None:
    rng = random.Random(5)
    accepted, messages = 0, []
    tracemalloc.start()
    try:
        for i in range(MUTATIONS):
            body, length = mutated(rng)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                asked = parse_inference(body, length, conditional, MAX_N)
            except InvalidRequestError as error:
                messages.append(error.message)
            else:
                accepted += 1
                check_sound(asked, conditional)
            assert tracemalloc.get_traced_memory()[1] - before < MOST_MEMORY, f"mutation {i} took much memory"
    finally:
        tracemalloc.stop()
    for message in messages:
        assert message.encode()
        assert "\n" not in message
    # Both must happen, else nothing was tried.
    assert accepted > MUTATIONS // 50
    assert len(messages) > MUTATIONS // 2


def check_sound(asked: Inference, manifest: Manifest) -> None:
    assert 1 <= len(asked) <= MAX_N
    parts = list(asked.parts(manifest, 4))
    assert sum(len(latents) for latents, _ in parts) == len(asked)
    for latents, labels in parts:
        assert latents.dtype == np.float32
        assert latents.shape[1:] == (DIM,)
        assert np.isfinite(latents).all()
        assert labels is not None
        assert labels.dtype == np.int64
        assert labels.shape == (len(latents),)
        assert labels.min() >= 0
        assert labels.max() < CLASSES
