"""Links that a model or a service can't take, limits of the service, and artifacts that change while the page is open."""


import shutil
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

NOTICE = "#notice"


@pytest.mark.parametrize(
    ("link", "left", "address"),
    [
        (
            "#model=colours&seed=7&n=9&label=3,9&truncation=0.8&directions=1:1.5",
            ["label=3,9 (colours has no classes)", "truncation=0.8 (colours has uniform latents, without tails)",
             "directions=1:1.5 (colours has none)"],
            "#model=colours&seed=7&n=9",
        ),
        (
            "#model=shapes&seed=7&n=9&label=9,3&directions=1:1e308,2:1",
            ["label=9 (shapes has 0 to 4)", "directions=1:1e308 (number:offset, 1 to 8, and -1000 to 1000)"],
            "#model=shapes&seed=7&n=9&label=3&directions=2:1",
        ),
        (
            "#model=shapes&seed=7&n=99999&image=400&steps=1&colour=red",
            ["colour (no part of a link)", "n=99999 (1 to 300)", "steps=1 (2 to 240)"],
            "#model=shapes&seed=7&n=300",
        ),
        ("#model=shapes&seed=-1&n=9", ["seed=-1 (0 to 9007199254740983)"], None),
        ("#model=shapes&seed=7&n=9&lock=1:5,9:1&path=1,1&like=a", ["lock=9:1 (place:seed, places 0 to 8)",
         "path=1,1 (two places, 0 to 8)", "like=a (seed,likeness:seed, likeness below 1)"], "#model=shapes&seed=7&n=9&lock=1:5"),
    ],
)  # fmt: skip
def test_what_a_link_has_that_does_not_fit_is_left_out_and_told(visit, service, link, left, address) -> None:
    seen = visit(service.url)
    seen.open(link)
    page = seen.page
    expect(page.locator(NOTICE)).to_contain_text("Left out of the link: ")
    for part in left:
        expect(page.locator(NOTICE)).to_contain_text(part)
    expect(page.locator("#notice-retry")).to_be_hidden()
    if address:
        assert seen.fragment == address
    seen.picture("left-out")
    page.click("#reroll")
    seen.drawn()
    expect(page.locator(NOTICE)).to_be_hidden()
    # The same link, to a page that is there.
    page.goto(f"{service.url}/ui/{link}")
    expect(page.locator(NOTICE)).to_contain_text(left[0])
    seen.drawn()
    expect(page.locator(NOTICE)).to_contain_text(left[0])
    if address:
        assert seen.fragment == address


@pytest.fixture(scope="module")
def small(serve, painted, tmp_path_factory) -> Iterator:
    """A service of ten images a request, whose folder may be changed."""
    folder = tmp_path_factory.mktemp("changing") / "models"
    shutil.copytree(painted, folder)
    with serve(models=folder, default_model="shapes", max_n=10, reload_seconds=1) as running:
        yield running, folder


def test_all_keeps_within_the_images_of_a_request(visit, small) -> None:
    seen = visit(small[0].url)
    seen.open()
    page, tiles = seen.page, seen.page.locator("#sheet .tile")
    expect(tiles).to_have_count(10)
    expect(page.locator(NOTICE)).to_be_hidden()
    expect(page.locator("#n option")).to_have_text(["1", "4", "9", "10"])
    with page.expect_download():
        page.click("#sheet-gif")
    for place in (3, 5):
        tiles.nth(place).click()
        expect(page.locator(".strip .tile")).to_have_count(8)
        page.click("#like")
        seen.drawn()
    page.goto(f"{small[0].url}/ui/#model=shapes&seed=7&n=4&path=0,3")
    expect(page.locator("#panel .large")).to_have_attribute("width", "28")
    expect(page.locator("#steps option")).to_have_text(["5"])
    with page.expect_download():
        page.locator("#panel").get_by_role("button", name="GIF").click()
    expect(page.locator(NOTICE)).to_be_hidden()
