"""The playground goes on: after answers that break off, after quick changes, with more latents than it remembers."""

import re
import time

import numpy as np
import pytest
from playwright.sync_api import Route, expect

pytestmark = pytest.mark.slow

LINK = "#model=shapes&seed=7&n=16"

MANY_LATENTS = """async () => {
    const { Latents } = await import("./latents.js");
    const model = { name: "shapes", max_n: 300, latent: { distribution: "normal" }, directions: [] };
    const latents = new Latents(model);
    const range = (first, n) => Array.from({ length: n }, (_, i) => first + i);
    await latents.fetch(range(0, 8192), null);
    await latents.fetch([0, 9000], null);
    const mixed = latents.latentOf({ chain: [{ seed: 0 }, { seed: 9000, alike: 0.5 }] }, null, []);
    return [mixed.length, latents.has([1], null), latents.rows.size];
}"""

COMMANDS = """async (label) => {
    const { snippets } = await import("./snippets.js");
    return snippets({ body: { model: "m", n: 4, seed: 1, label }, path: false, names: ["1", "2", "two"] });
}"""


@pytest.mark.parametrize("answer", [b"", b"<html>hello</html>", b"\x93NUMPY\x01\x00\x06\x00{'x'}\n"])
def test_an_answer_that_is_no_images_is_told_and_the_next_one_is_shown(visit, service, answer) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    page, before = seen.page, seen.pixels()
    page.route("**/generate", lambda route: route.fulfill(status=200, body=answer))
    page.click("#reroll")
    expect(page.locator("#notice-text")).to_have_text(re.compile("connection broke|something else than an array"))
    page.unroute("**/generate")
    page.click("#reroll")
    seen.drawn()
    expect(page.locator("#notice")).to_be_hidden()
    assert not np.array_equal(seen.pixels(), before)


def test_an_answer_that_is_no_json_is_told_too(visit, service) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    page = seen.page
    page.route("**/latents", lambda route: route.fulfill(status=200, body="<html>"))
    page.goto(f"{service.url}/ui/#model=shapes&seed=700&n=16&directions=1:2")
    expect(page.locator("#notice-text")).to_contain_text("Is a proxy in between?")
    page.unroute("**/latents")
    page.click("#notice-retry")
    seen.drawn()
    expect(page.locator("#notice")).to_be_hidden()


def test_every_neighbour_can_be_shown_however_few_images_there_are(visit, service) -> None:
    seen = visit(service.url)
    for n, neighbour, expected in ((4, 7, 9), (1, 0, 4), (16, 7, 16)):
        seen.open(f"#model=shapes&seed=7&n={n}&image=0")
        page = seen.page
        strip = page.locator(".strip .tile")
        expect(strip).to_have_count(8)
        near = seen.pixels(".strip canvas")[neighbour]
        strip.nth(neighbour).click()
        expect(page.locator("#panel-title")).to_have_text(f"Image {neighbour + 2}")
        seen.drawn()
        assert page.locator("#sheet .tile").count() == expected
        assert np.array_equal(seen.pixels("#panel .large")[0], near)
        page.goto("about:blank")


def test_a_path_from_an_image_that_is_gone_begins_anew(visit, service) -> None:
    seen = visit(service.url)
    seen.open("#model=shapes&seed=7&n=64&image=60")
    page = seen.page
    page.click("#path-from")
    page.select_option("#n", "16")
    seen.drawn()
    page.locator("#sheet .tile").nth(3).click()
    expect(page.locator("#pointed")).to_contain_text("the path goes from image 4")
    page.locator("#sheet .tile").nth(5).click()
    expect(page.locator("#panel-title")).to_have_text("From image 4 to image 6")


def test_more_latents_than_are_remembered(visit, service) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    dim, has_old, remembered = seen.page.evaluate(MANY_LATENTS)
    assert (dim, has_old, remembered) == (16, False, 8192)


def test_of_models_chosen_in_quick_succession_the_last_one_is_shown(visit, service) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    page = seen.page
    held: list[Route] = []
    page.route("**/models/colours", lambda route: held.append(route))  # playwright marks what it is given
    page.select_option("#model", "colours")
    deadline = time.monotonic() + 10
    while not held and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    page.select_option("#model", "shapes")
    seen.drawn()
    (route,) = held
    with page.expect_response("**/models/colours"):
        route.continue_()
    page.wait_for_timeout(500)
    assert "model=shapes" in seen.fragment
    assert page.title().startswith("shapes")
    seen.drawn()


@pytest.mark.parametrize("panel", ["image=3", "path=1,3"])
def test_the_panel_of_an_image_closes_when_another_model_is_chosen(visit, service, panel) -> None:
    seen = visit(service.url)
    seen.open(f"{LINK}&{panel}")
    page = seen.page
    expect(page.locator("#panel")).to_be_visible()
    page.select_option("#model", "colours")
    seen.drawn()
    expect(page.locator("#panel")).to_be_hidden()
    page.go_back()
    expect(page.locator("#panel")).to_be_visible()
    seen.drawn()


def test_no_other_models_card_stands_under_a_model_without_one(visit, service) -> None:
    seen = visit(service.url, expected="status of 404")
    seen.open(LINK)
    page, card = seen.page, seen.page.locator("#about-page")
    expect(card).to_contain_text("für Tests")
    missing = {"error": {"code": "not_found", "message": "it has no card"}, "request_id": "r1"}
    page.route("**/models/colours/card", lambda route: route.fulfill(status=404, json=missing))
    page.select_option("#model", "colours")
    expect(page.locator("#notice-text")).to_contain_text("It has no card")
    expect(card).not_to_contain_text("für Tests")


def test_a_picture_that_did_not_come_with_the_card_is_told_by_its_words(visit, service) -> None:
    seen = visit(service.url, expected="status of 404")
    missing = {"error": {"code": "not_found", "message": "it has no such picture"}, "request_id": "r1"}
    seen.page.route("**/pictures/curves.png", lambda route: route.fulfill(status=404, json=missing))
    seen.open(LINK)
    card = seen.page.locator("#about-page")
    expect(card).to_contain_text("curves of the training")
    expect(card.get_by_alt_text("curves of the training")).to_have_count(0)
    expect(seen.page.locator("#notice")).to_be_hidden()


def test_the_focus_stays_where_a_person_is(visit, service) -> None:
    seen = visit(service.url)
    seen.open(LINK + "&image=2&directions=1:1")
    page = seen.page

    def focused() -> str:
        return page.evaluate("document.activeElement.id || document.activeElement.dataset.direction || ''")

    page.focus("#lock")
    page.keyboard.press("Enter")
    expect(page.locator("#lock")).to_have_text("Unlock")
    assert focused() == "lock"
    page.focus("#directions-reset")
    page.keyboard.press("Enter")
    assert focused() == "0"
    seen.drawn()
    page.click("#like")
    expect(page.locator("#centre")).to_be_visible()
    page.focus("#back")
    page.keyboard.press("Enter")
    assert focused() == "seed"
    seen.drawn()
    page.goto(f"{service.url}/ui/{LINK}&path=1,4")
    page.focus("#steps")
    page.select_option("#steps", "24")
    expect(page.locator("#frame")).to_have_attribute("max", "24")
    assert focused() == "steps"


def test_the_command_line_asks_for_the_class_that_is_shown_whatever_classes_are_called(visit, service) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    calls = [seen.page.evaluate(COMMANDS, label) for label in (0, 1, 2, [0, 1, 2, 0])]
    asked = [re.search(r"--labels? (\S+)", call["cli"])[1] for call in calls]
    assert asked == ["0", "+1", "+2", "0,+1,+2"]


def test_labels_that_are_gone_through_in_turn_are_written_once(visit, service) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    every = [[0, 1, 0, 1], [0, 1, 2, 0, 1], [0, 1, 2], [2, 0, 0]]
    calls = [seen.page.evaluate(COMMANDS, labels)["python"] for labels in every]
    written = [re.search(r"label=(.*), model=", call)[1] for call in calls]
    assert written == ["[0, 1] * 2", "([0, 1, 2] * 2)[:5]", "[0, 1, 2]", "[2, 0, 0]"]


def test_the_calls_of_a_path_have_as_many_frames_per_second_as_its_gif(visit, service) -> None:
    seen = visit(service.url)
    seen.open(f"{LINK}&path=1,7&steps=12")
    page = seen.page
    gif = page.locator("#panel").get_by_role("button", name="GIF")
    with page.expect_request(lambda request: '"gif"' in (request.post_data or "")) as sent, page.expect_download():
        gif.click()
    expect(page.locator("#call-title")).to_have_text("The call for this path")
    for language in ("curl", "python", "cli"):
        page.click(f"#call-{language}")
        expect(page.locator("#call-text")).to_have_text(re.compile(rf"fps\W+{sent.value.post_data_json['fps']}\b"))
