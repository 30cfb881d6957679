"""Buckets with a clock in the test's hand."""

import asyncio
import math
import random
from typing import Any

import httpx
import pytest
from guarding import guard_of
from starlette.responses import PlainTextResponse

from gan_serving.errors import RateLimitedError
from gan_serving.middleware.api_keys import CALLER_SCOPE_KEY
from gan_serving.middleware.rate_limit import MAX_BUCKETS, RateLimiter, caller_of
from gan_serving.settings import Settings


class Clock:
    now = 1e6

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait_of(limiter: RateLimiter, name: str = "a", images: int | None = None) -> float:
    """0, or the seconds of the refusal."""
    try:
        limiter.admit(name) if images is None else limiter.charge(name, images)
    except RateLimitedError as error:
        return error.retry_after
    return 0.0


def test_off_by_default(clock: Clock):
    limiter = RateLimiter.from_settings(Settings(), clock)
    assert not limiter.enabled
    for _ in range(1000):
        limiter.admit("a")
        limiter.charge("a", 4096)
    assert len(limiter) == 0


def test_a_burst_passes_and_then_one_in_each_interval(clock: Clock):
    limiter = RateLimiter.from_settings(Settings(rate_limit=4, rate_burst=10), clock)
    assert limiter.enabled
    assert [wait_of(limiter) for _ in range(10)] == [0] * 10
    for _ in range(20):
        assert wait_of(limiter) == pytest.approx(0.25)
        clock.now += 0.25
        assert wait_of(limiter) == 0
    assert wait_of(limiter, "b") == 0, "another caller is not held up"
    clock.now += 1e6
    assert [wait_of(limiter) > 0 for _ in range(11)] == [False] * 10 + [True], "it never holds more than a burst"


def test_who_waits_as_long_as_told_is_let_in(clock: Clock):
    chance = random.Random(0)
    for _ in range(200):
        rate = chance.uniform(0.1, 1e5)
        limiter = RateLimiter(chance.uniform(0.001, 1000), chance.randint(1, 5), rate, clock)
        for images in (None, 7 + int(rate / 100)):
            wait = 0.0
            while not wait:
                wait = wait_of(limiter, images=images)
            clock.now += wait
            assert wait_of(limiter, images=images) == 0


def test_a_refusal_says_when_to_come_again(clock: Clock):
    limiter = RateLimiter(0.1, 1, 0, clock)
    limiter.admit("a")
    clock.now += 2.5
    with pytest.raises(RateLimitedError) as caught:
        limiter.admit("a")
    error = caught.value
    assert (error.status, error.code, error.headers) == (429, "rate_limited", {"Retry-After": "8"})
    assert error.message == "more than 0.1 requests per second; come again in 8 s"


@pytest.mark.parametrize("rate", [1e-9, 1e-300, 5e-324])
def test_a_rate_near_0_refuses_with_a_time_that_can_be_written(clock: Clock, rate: float):
    limiter = RateLimiter.from_settings(Settings(rate_limit=rate, rate_burst=1, rate_images=rate), clock)
    assert wait_of(limiter) == wait_of(limiter, images=10**6) == 0
    for refused in (lambda: limiter.admit("a"), lambda: limiter.charge("a", 1)):
        with pytest.raises(RateLimitedError, match=r" come again in [0-9]{10} s$") as caught:
            refused()
        assert 10**9 <= int(caught.value.headers["Retry-After"]) < 2**31


@pytest.mark.parametrize(
    ("rate", "requests", "images"),
    [
        (0.1, "0.1 requests", "0.1 images"),
        (1.0, "1 request", "1 image"),
        (2.5e6, "2500000 requests", "2500000 images"),
    ],
)
def test_a_refusal_names_the_limit(clock: Clock, rate: float, requests: str, images: str):
    limiter = RateLimiter(rate, 1, rate, clock)
    limiter.admit("a")
    with pytest.raises(RateLimitedError, match=f"^more than {requests} per second; come again"):
        limiter.admit("a")
    limiter.charge("a", 10**8)
    with pytest.raises(RateLimitedError, match=f"^more than {images} per second; come again"):
        limiter.charge("a", 1)


def test_images_are_paid_for_afterwards_so_that_no_request_is_too_large(clock: Clock):
    limiter = RateLimiter(0, 1, 100, clock)
    assert wait_of(limiter, images=4096) == 0
    assert wait_of(limiter, images=1) == pytest.approx((4096 - 100 + 1) / 100)
    clock.now += 20
    assert wait_of(limiter, images=1) > 0
    clock.now += 20
    assert wait_of(limiter, images=4096) == 0
    limiter.admit("a")  # requests are not limited


def test_the_mean_rate_holds_whatever_is_asked_for(clock: Clock):
    chance = random.Random(1)
    limiter = RateLimiter(0, 1, 50, clock)
    taken, end = 0, clock.now + 1000
    while clock.now < end:
        images = chance.choice([1, 3, 64, 500])
        wait = wait_of(limiter, images=images)
        taken += 0 if wait else images
        clock.now += wait or 0.01
    assert 0.95 * 50 * 1000 < taken < 50 * 1000 + 50 + 500


def test_a_refusal_costs_nothing(clock: Clock):
    limiter = RateLimiter(1, 1, 0, clock)
    limiter.admit("a")
    waits = [wait_of(limiter) for _ in range(100)]
    assert waits == [pytest.approx(1)] * 100


def test_memory_is_bounded(clock: Clock):
    limiter = RateLimiter(0.001, 5, 0.001, clock)
    for number in range(3 * MAX_BUCKETS):
        limiter.admit(f"caller {number}")
        limiter.charge(f"caller {number}", 1)
    assert len(limiter) <= 2 * MAX_BUCKETS


def test_a_caller_in_debt_is_remembered_while_others_who_owe_nothing_are_forgotten(clock: Clock):
    limiter = RateLimiter(0, 1, 10, clock)
    limiter.charge("greedy", 10_000)  # and is not heard of again, so that it is the oldest of all
    for number in range(MAX_BUCKETS - 1):
        limiter.charge(f"early {number}", 1)
    clock.now += 5
    for number in range(20):
        limiter.charge(f"late {number}", 1)
    assert len(limiter) <= MAX_BUCKETS
    assert wait_of(limiter, "greedy", images=1) > 0


def test_a_caller_who_was_heard_of_lately_is_remembered(clock: Clock):
    limiter = RateLimiter(0.001, 2, 0, clock)
    limiter.admit("steady")
    for number in range(MAX_BUCKETS - 1):
        limiter.admit(f"caller {number}")
    limiter.admit("steady")
    limiter.admit("one more")
    assert len(limiter) <= MAX_BUCKETS
    assert wait_of(limiter, "steady") > 0


def test_a_bucket_holds_one_request_at_least(clock: Clock):
    assert wait_of(RateLimiter(1, 0, 0, clock)) == 0


@pytest.mark.parametrize(
    ("scope", "caller"),
    [
        ({"client": ("10.1.2.3", 5)}, "10.1.2.3"),
        ({"client": ("::ffff:10.1.2.3", 5)}, "10.1.2.3"),
        ({"client": ("2001:db8:1:2:3:4:5:6", 5)}, "2001:db8:1:2::/64"),
        ({"client": ("2001:db8:1:2::1", 5)}, "2001:db8:1:2::/64"),
        ({"client": ("2001:db8:1:3::1", 5)}, "2001:db8:1:3::/64"),
        ({"client": ("fe80::1%eth0", 5)}, "fe80::/64"),
        ({"client": ("x" * 1000, 5)}, "x" * 64),
        ({"client": None}, ""),
        ({}, ""),
        ({"client": ("10.1.2.3", 5), CALLER_SCOPE_KEY: "alice"}, "key alice"),
        ({"client": ("10.1.2.3", 5), CALLER_SCOPE_KEY: ""}, "10.1.2.3"),
    ],
)
def test_callers(scope: dict[str, object], caller: str):
    assert caller_of(scope) == caller


def test_the_limits_are_checked():
    for name, value in (("rate_limit", -1), ("rate_images", math.nan), ("rate_burst", 0)):
        with pytest.raises(ValueError, match=name):
            Settings(**{name: value})


def test_the_files_of_the_playground_and_probes_are_not_counted(clock: Clock):
    async def hello(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("hello")(scope, receive, send)

    limiter = RateLimiter.from_settings(Settings(rate_limit=1, rate_burst=2), clock)
    guarded = guard_of(hello, max_body=100, timeout=10, limiter=limiter)

    async def statuses(path: str) -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://test") as client:
            return [(await client.get(path)).status_code for _ in range(4)]

    assert asyncio.run(statuses("/ui/main.js")) == [200] * 4
    for probe in ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready", "/metrics"):
        assert asyncio.run(statuses(probe)) == [200] * 4, "Kubernetes restarts a pod whose probe gets 429"
    assert asyncio.run(statuses("/ui")) == [200, 200, 429, 429]
