"""The playground for everybody: by keyboard, with a screen reader, on a phone, in the dark, and when things fail."""

import re
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

LINK = "#model=shapes&seed=7&n=16"
KEY, BUSY_KEY = "a-key-for-the-browser-tests", "a-key-for-asking-too-much"
STANDARDS = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}


def flaws(page) -> list[str]:
    """What axe-core finds wrong, as 'rule: element'."""
    found = Axe().run(page, options=STANDARDS).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:120]} {node['failureSummary'][:200]}" for rule in found for node in rule["nodes"]
    ]


def test_the_keyboard_reaches_everything(visit, service) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    page = seen.page
    tiles = page.locator("#sheet .tile")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(tiles.nth(0)).to_be_focused()
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowDown", 5),
        ("ArrowLeft", 4),
        ("ArrowUp", 0),
        ("ArrowUp", 0),
        ("End", 15),
    ):
        page.keyboard.press(key)
        expect(tiles.nth(place)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#panel")).to_be_focused()
    expect(page.locator("#panel-title")).to_have_text("Image 16")
    page.keyboard.press("Escape")
    expect(tiles.nth(15)).to_be_focused()
    page.keyboard.press("p")
    expect(page.locator("#status")).to_contain_text("choose the image to which the path goes from image 16")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.locator("#panel-title")).to_have_text("From image 16 to image 1")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    expect(page.locator("#centre")).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#seed")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    seen.picture("keys")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    before = page.input_value("#seed")
    page.keyboard.press("r")
    expect(page.locator("#seed")).not_to_have_value(before)
    # Keys that are typed into a field are text.
    page.focus("#seed")
    page.keyboard.type("r")
    expect(page.locator("#help")).to_be_hidden()


def test_axe_finds_no_flaw(visit, service) -> None:
    seen = visit(service.url, reduced_motion="reduce")
    seen.open("#model=shapes&seed=7&n=16&label=0,3&truncation=1&directions=1:1&image=3")
    page = seen.page
    expect(page.locator(".strip .tile")).to_have_count(8)
    assert flaws(page) == []
    page.click("#about-certificate")
    page.emulate_media(color_scheme="dark")
    assert flaws(page) == []
    seen.picture("detail-dark", full=True)
    page.click("#about-metrics")
    page.click("#like")
    seen.drawn()
    page.keyboard.press("?")
    assert flaws(page) == []
    page.keyboard.press("Escape")
    page.goto(f"{service.url}/ui/#model=nobody")
    expect(page.locator("#notice")).to_be_visible()
    assert flaws(page) == []


def test_light_dark_and_as_the_system_has_it(visit, service) -> None:
    seen = visit(service.url, color_scheme="dark")
    seen.open(LINK)
    page = seen.page

    def bright() -> bool:
        colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) > 3 * 128

    assert not bright()
    seen.picture("sheet-dark", full=True)
    page.click("#theme")
    assert bright()
    page.reload()
    seen.drawn()
    assert bright(), "what was chosen holds"
    page.click("#theme")
    assert not bright()
    page.click("#theme")
    page.emulate_media(color_scheme="light")
    assert bright()


def test_a_phone(visit, service) -> None:
    seen = visit(service.url, width=360, height=740, has_touch=True, is_mobile=True, device_scale_factor=2)
    seen.open("#model=shapes&seed=7&n=36")
    page = seen.page
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    seen.picture("phone", full=True)
    assert flaws(page) == []
    expect(page.get_by_role("combobox", name="Model")).to_have_value("shapes")
    page.click("#about-metrics")
    value = page.get_by_role("row", name="Images generated, this model").get_by_role("cell").last
    value.scroll_into_view_if_needed()
    expect(value).to_be_in_viewport(ratio=1)
    assert page.evaluate("Math.max(...[...document.querySelectorAll('.scroll')].map((each) => each.scrollLeft))") == 0
    box = page.locator("#sheet .tile").first.bounding_box()
    assert min(box["width"], box["height"]) >= 44, "a finger hits it"
    page.locator("#sheet .tile").nth(3).tap()
    expect(page.locator("#panel")).to_be_in_viewport()
    expect(page.locator(".strip .tile")).to_have_count(8)
    seen.picture("phone-detail")
    page.locator("#path-from").tap()
    page.locator("#sheet .tile").nth(8).tap()
    expect(page.locator("#panel-title")).to_have_text("From image 4 to image 9")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input")].filter((each) => each.checkVisibility())
            .map((each) => [each.id || each.className, each.getBoundingClientRect().height])
            .filter(([, height]) => height < 24)"""
    )
    assert small == []


def test_long_names_break_on_a_narrow_screen(visit, service) -> None:
    seen = visit(service.url, width=320, height=640)
    name, width = "n" * 64, "document.documentElement.scrollWidth"
    card = f"# {name}\n\n## {name}\n\nOf {name}.\n\n- {name}\n"
    seen.page.route("**/card", lambda route: route.fulfill(body=card))
    seen.open(LINK)
    expect(seen.page.locator("#about-page h3")).to_have_text(name)
    assert seen.page.evaluate(width) == 320
    seen.page.locator("#about").scroll_into_view_if_needed()
    seen.picture("narrow", full=True)
    seen.page.goto(f"{service.url}/ui/#model={name}")
    expect(seen.page.locator("#notice")).to_contain_text(name)
    assert seen.page.evaluate(width) == 320


def test_nothing_plays_for_those_who_want_less_motion(visit, service) -> None:
    seen = visit(service.url, reduced_motion="reduce")
    seen.open(LINK + "&path=1,7")
    expect(seen.page.locator("#panel .large")).to_have_attribute("width", "28")
    expect(seen.page.locator("#play")).to_have_text("Play")
    assert seen.page.input_value("#frame") == "0"


@pytest.fixture(scope="module")
def closed(serve, painted) -> Iterator:
    with serve(
        models=painted, default_model="shapes", api_keys=f"{KEY},{BUSY_KEY}", metrics_open="false", rate_images=200
    ) as running:
        yield running


def test_with_api_keys_the_page_asks_for_one_and_keeps_it_to_itself(visit, closed) -> None:
    seen = visit(closed.url, expected="401")
    seen.open(LINK, drawn=False)
    page = seen.page
    dialog = page.locator("#key-dialog")
    expect(dialog).to_contain_text("This service answers those who have an API key.")
    seen.picture("key")
    assert flaws(page) == []
    for again in ("#notice-retry", "#reroll"):
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(page.locator("#notice")).to_contain_text("answers those who have an API key. Enter one to go on.")
        expect(page.locator("#notice-retry")).to_have_text("Enter a key")
        expect(page.locator("#notice-retry")).to_be_visible()
        seen.picture("without-key")
        assert flaws(page) == []
        page.click(again)
        expect(dialog).to_be_visible()
    page.fill("#key", "a-wrong-key-of-somebody")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("not one of this service's")
    for wrong in ("wröng", "wrong€", "“a-key-in-curly-quotes”"):
        page.fill("#key", wrong)
        page.click("#key-use")
        expect(page.locator("#key")).to_have_value("")
        expect(dialog).to_contain_text("not one of this service's")
        if wrong != "wröng":
            assert page.evaluate("sessionStorage.length") == 0, "it is dropped"
    seen.picture("key-wrong")
    page.evaluate("sessionStorage.setItem('gan-api-key', 'wrong€')")
    page.reload()
    expect(dialog).to_contain_text("not one of this service's")
    page.fill("#key", KEY)
    page.click("#key-use")
    expect(dialog).to_be_hidden()
    seen.drawn()
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"model": "shapes", "seed": 7, "n": 16, "format": "npy"}
    assert httpx.post(f"{closed.url}/generate", json=body, headers=headers).status_code == 200
    expect(page.locator("#live")).to_contain_text("images/s")
    expect(page.locator("#notice")).to_be_hidden()
    assert KEY not in page.url
    assert page.evaluate("JSON.stringify(localStorage)") == "{}"
    for language in ("curl", "python", "cli"):
        page.click(f"#call-{language}")
        assert KEY not in page.locator("#call-text").inner_text()
    page.click("#call-curl")
    expect(page.locator("#call-text")).to_contain_text("$GAN_API_KEY")
    expect(page.locator("#about-page .preview")).to_have_js_property("complete", True)
    page.reload()
    seen.drawn()
    page.click("#key-button")
    page.click("#key-forget")
    expect(dialog).to_contain_text("This service answers those who have an API key.")


def test_who_asks_too_much_is_told_when_to_come_again_and_then_it_goes_on(visit, closed) -> None:
    seen = visit(closed.url, expected="status of")
    seen.open("#model=shapes&seed=7&n=900&label=0", drawn=False)
    page, first = seen.page, "#sheet .tile:first-child canvas"
    page.fill("#key", BUSY_KEY)
    page.click("#key-use")
    seen.drawn()
    page.click("#reroll")
    notice = page.locator("#notice")
    expect(notice).to_contain_text("More than 200 images per second")
    expect(notice).to_contain_text("again in")
    before = seen.pixels(first)
    seen.drawn()
    expect(notice).to_be_hidden()
    assert not np.array_equal(seen.pixels(first), before)


def test_errors_are_said_in_words_and_gone_when_it_works_again(visit, service) -> None:
    seen = visit(service.url, expected="status of")
    page = seen.page
    notice = page.locator("#notice")
    refused = {"error": {"code": "generation_failed", "message": "the generator failed"}, "request_id": "r1"}
    page.route("**/generate", lambda route: route.fulfill(status=500, json=refused))
    seen.open(LINK, drawn=False)
    expect(notice).to_contain_text("The generator failed.")
    expect(notice).to_contain_text("generation_failed · request r1")
    seen.picture("error")
    expect(page.locator("#sheet-png")).to_be_hidden()
    page.unroute("**/generate")
    page.click("#notice-retry")
    seen.drawn()
    expect(notice).to_be_hidden()
    page.goto(f"{service.url}/ui/#model=nobody&seed=7")
    expect(notice).to_contain_text("This service has no model “nobody”. Choose another one above.")
    page.select_option("#model", "shapes")
    seen.drawn()
    expect(notice).to_be_hidden()


def test_a_link_with_nonsense_in_it_shows_a_sheet_all_the_same(visit, service) -> None:
    seen = visit(service.url)
    seen.open(
        "#model=shapes&seed=-4&n=zero&label=,x&truncation=99&directions=9:1,1:&lock=77:-1&like=a&path=1,1&image=999"
    )
    assert seen.page.locator("#sheet .tile").count() == 64
    expect(seen.page.locator("#panel")).to_be_hidden()
