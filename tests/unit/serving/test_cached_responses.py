"""Which responses are kept."""

from gan_serving.encode import Encoded
from gan_serving.response_cache import ResponseCache

CAPACITY = 30  # bytes


def response(size: int = 10) -> Encoded:
    return Encoded(b"x" * size, "image/png")


def kept(cache: ResponseCache, names: str) -> str:
    """Which of them are there; looking makes them the ones used last, in this order."""
    return "".join(name for name in names if cache.get(name) is not None)


def filled() -> ResponseCache:
    cache = ResponseCache(CAPACITY)
    for name in "abc":
        cache.put(name, response())
    return cache


def test_the_longest_unused_goes_first():
    cache = filled()
    assert kept(cache, "a") == "a"
    cache.put("d", response())
    assert kept(cache, "abcd") == "acd"
    cache.put("e", response(20))
    assert kept(cache, "abcde") == "de"


def test_what_is_larger_than_the_cache_is_not_kept_and_drives_nothing_out():
    cache = filled()
    cache.put("large", response(CAPACITY + 1))
    assert cache.get("large") is None
    assert kept(cache, "abc") == "abc"
    cache.put("d", response(CAPACITY))
    assert kept(cache, "abcd") == "d"


def test_a_response_that_is_put_again_counts_once():
    cache = filled()
    for _ in range(3):
        cache.put("a", response())
    assert kept(cache, "abc") == "abc"
    cache.put("a", response(11))
    assert kept(cache, "abc") == "ac", "b is the longest unused"
    assert cache.get("a") == response(11)
    cache.put("a", response(10))
    cache.put("d", response())
    assert kept(cache, "acd") == "acd"


def test_a_cache_of_no_bytes_keeps_nothing():
    cache = ResponseCache(0)
    cache.put("a", response())
    assert len(cache) == 0
