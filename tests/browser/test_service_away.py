"""The service goes away, or isn't ready: the page goes on by itself when it is back, and nobody has to click."""

import io
import itertools
import re
import time
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.slow

PATIENCE = 10.0  # seconds
LINK = "#model=shapes&seed=7&n=16"
STARTING = {"error": {"code": "not_ready", "message": "the service is starting"}, "request_id": "r1"}
HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def wait(page: Page, condition: Callable[[], object], what: str) -> None:
    """Until the condition holds, which calls of the page make true: they are handled while it waits."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        page.wait_for_timeout(20)


def test_a_service_that_goes_away_and_comes_back(visit, service) -> None:
    seen = visit(service.url, expected="ERR_INTERNET_DISCONNECTED")
    seen.open(LINK)
    page, before = seen.page, seen.pixels()
    page.context.set_offline(True)
    page.click("#reroll")
    expect(page.locator("#notice")).to_contain_text("The service can't be reached")
    expect(page.locator("#live")).to_contain_text("not reachable")
    assert np.array_equal(seen.pixels(), before), "what was drawn stays"
    page.click("#notice-retry")
    expect(page.locator("#notice")).to_contain_text("The page goes on by itself when it is back")
    page.context.set_offline(False)
    seen.drawn()
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#live")).to_contain_text("images/s")
    assert not np.array_equal(seen.pixels(), before)


@pytest.mark.parametrize(("status", "headers"), [(503, {}), (503, {"Retry-After": "3"}), (504, {})])
def test_a_service_that_is_not_ready_is_asked_more_and_more_seldom_until_it_is(visit, service, status, headers) -> None:
    """Whoever says so: a proxy in between may have a status and a header of its own."""
    seen = visit(service.url, expected="status of 50")
    seen.open(LINK)
    page, before, asked, is_ready = seen.page, seen.pixels(), [], False

    def answer(route: Route) -> None:
        asked.append((time.monotonic(), route.request.url.rpartition("/")[2]))
        if is_ready:
            route.continue_()
        elif asked[-1][1] == "readyz":
            route.fulfill(status=status, headers=headers, body="")
        else:
            route.fulfill(status=503, json=STARTING)

    page.route(re.compile("/(generate|readyz)$"), answer)
    page.click("#reroll")
    expect(page.locator("#notice")).to_contain_text("The service is starting.")
    wait(page, lambda: len(asked) == 2, "the page asks whether it is ready")
    is_ready = True
    seen.drawn()
    expect(page.locator("#notice")).to_be_hidden()
    assert not np.array_equal(seen.pixels(), before)
    assert [path for _, path in asked] == ["generate", "readyz", "readyz", "generate"]
    first, second = (later - sooner for (sooner, _), (later, _) in itertools.pairwise(asked[:3]))
    assert 0.8 < first < second


def test_figures_that_were_on_their_way_do_not_say_that_it_is_ready(visit, service) -> None:
    seen = visit(service.url, expected="status of 503")
    seen.open(LINK)
    page, held, asked = seen.page, [], []

    def refuse(route: Route) -> None:
        asked.append(time.monotonic())
        route.fulfill(status=503, json=STARTING)

    page.route(re.compile("/metrics$"), lambda route: held.append(route))
    page.route(re.compile("/(generate|readyz)$"), refuse)
    wait(page, lambda: held, "the page asks for figures")
    page.click("#reroll")
    expect(page.locator("#live")).to_contain_text("not ready")
    held[0].continue_()
    wait(page, lambda: len(asked) == 2, "the page asks whether it is ready")
    expect(page.locator("#live")).to_contain_text("not ready")
    assert asked[1] - asked[0] > 0.8


def test_what_fails_whenever_the_service_is_ready_is_left_to_the_person(visit, service) -> None:
    """It may be what ends the service, each time."""
    seen = visit(service.url)
    seen.open(LINK)
    page = seen.page
    page.evaluate("""async () => {
        const [{ notice, tryLost }, { CallError }] = await Promise.all([import("./notice.js"), import("./api.js")]);
        const fail = () => notice(new CallError("It broke off.", { code: "unreachable" }), { retry });
        const retry = () => {
            window.tries += 1;
            fail();
        };
        Object.assign(window, { tries: 0, beBack: tryLost });
        fail();
    }""")
    back = "() => { for (let i = 0; i < 9; i += 1) beBack(); return tries; }"
    assert page.evaluate(back) == 3
    page.click("#notice-retry")
    assert page.evaluate(back) == 3 + 1 + 3


def test_a_page_that_nobody_sees_does_not_ask_whether_the_service_is_back(visit, service) -> None:
    seen = visit(service.url, expected="ERR_FAILED")
    seen.open(f"{LINK}&labels=99")
    page, asked, is_there = seen.page, [], False

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        if is_there:
            route.continue_()
        else:
            route.abort()

    page.route(re.compile("/(metrics|readyz)$"), answer)
    expect(page.locator("#live")).to_contain_text("not reachable")
    expect(page.locator("#status")).to_contain_text("can't be reached")
    page.evaluate(HIDE, True)
    page.wait_for_timeout(100)  # for an answer that was on its way
    asked.clear()
    page.wait_for_timeout(1500)
    assert asked == []
    is_there = True
    page.evaluate(HIDE, False)
    expect(page.locator("#status")).to_have_text("The service is back.")
    expect(page.locator("#live")).to_contain_text("images/s")
    expect(page.get_by_text("Left out of the link")).to_be_visible()  # what was said of something else stays


def test_a_download_that_fails_leaves_the_sheet_its_second_try(visit, service) -> None:
    seen = visit(service.url, expected="ERR_INTERNET_DISCONNECTED")
    seen.open(LINK)
    page, notice = seen.page, seen.page.locator("#notice")
    page.context.set_offline(True)
    page.fill("#seed", "777")
    page.press("#seed", "Enter")
    expect(notice).to_contain_text("The service can't be reached")
    page.click("#sheet-png")
    page.click("#notice-close")
    expect(notice).to_be_visible()  # of the sheet
    page.click("#sheet-png")
    with page.expect_download():
        page.context.set_offline(False)
    seen.drawn()
    expect(notice).to_be_hidden()
    body = {"model": "shapes", "seed": 777, "n": 16, "format": "npy"}
    images = np.load(io.BytesIO(httpx.post(f"{service.url}/generate", json=body).content))
    assert np.array_equal(seen.pixels(), np.broadcast_to(images, (16, 28, 28, 3)))
