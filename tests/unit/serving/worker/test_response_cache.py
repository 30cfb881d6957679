"""The cache of finished responses keeps those used last, in no more memory than it was given."""

import os
import tracemalloc

import pytest

from gan_serving.formats.encode import Encoded
from gan_serving.worker.response_cache import ENTRY_BYTES, ResponseCache


def response(size: int) -> Encoded:
    return Encoded(os.urandom(size), "image/png")


@pytest.mark.parametrize("size", [40, 300, 5000])
def test_it_takes_no_more_memory_than_it_was_given(size: int) -> None:
    capacity = 2**19
    tracemalloc.start()
    try:
        cache = ResponseCache(capacity)
        for i in range(3 * capacity // size):
            cache.put(f'"{i:032x}"', response(size))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cache) == capacity // (size + ENTRY_BYTES)
    assert 0.6 * capacity < taken < 1.05 * capacity


def test_those_used_last_stay() -> None:
    cache, kept = ResponseCache(3 * (10 + ENTRY_BYTES)), [response(10) for _ in range(4)]
    for name, each in zip("abc", kept, strict=False):
        cache.put(name, each)
    assert cache.get("a") is kept[0]
    cache.put("d", kept[3])
    assert [cache.get(name) for name in "abcd"] == [kept[0], None, kept[2], kept[3]]
    larger = response(20)
    cache.put("d", larger)  # in the place of the one that it had
    assert [cache.get(name) for name in "acd"] == [None, kept[2], larger]


def test_what_is_larger_than_all_room_is_not_kept() -> None:
    cache = ResponseCache(1000)
    cache.put("a", response(500))
    cache.put("b", response(1000))
    assert cache.get("a") is not None
    assert cache.get("b") is None
