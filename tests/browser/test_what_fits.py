"""What a model or a service can't take: links, numbers above its limits, and all that was of an artifact before."""

import io
import json
import shutil
import time
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
        (
            "#model=shapes&seed=7&n=9&lock=1:5,9:1&path=1,1&like=a",
            ["lock=9:1 (place:seed, places 0 to 8)", "path=1,1 (two places, 0 to 8)",
             "like=a (seed,likeness:seed, likeness below 1)"],
            "#model=shapes&seed=7&n=9&lock=1:5",
        ),
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
    expect(page.locator(NOTICE)).to_be_visible()
    seen.drawn()
    expect(page.locator(NOTICE)).to_contain_text(left[0])
    expect(page.locator(NOTICE)).to_be_visible()
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


def test_another_artifact_of_the_name_is_noticed_and_selected_anew(visit, small, other_shapes) -> None:
    service, folder = small
    busy, idle = visit(service.url, expected="status of 400"), visit(service.url)
    plain = visit(service.url)  # asks for nothing that another artifact can't take
    for seen in (busy, plain):  # without live figures the answers alone tell it
        seen.page.route("**/metrics", lambda route: route.fulfill(body=""))
    for seen in (busy, idle):
        seen.open("#model=shapes&seed=7&n=9&label=1,3&truncation=0.8&directions=1:1&image=2")
    plain.open("#model=shapes&seed=7&n=9")
    (folder / "shapes").rename(folder.parent / "before")
    shutil.copytree(other_shapes, folder.parent / "after")
    (folder.parent / "after").rename(folder / "shapes")
    old = idle.pixels()
    deadline = time.monotonic() + 20
    while httpx.get(f"{service.url}/models/shapes").json()["class_names"] and time.monotonic() < deadline:
        time.sleep(0.05)
    busy.page.click("#reroll")
    plain.page.click("#reroll")
    expect(plain.page.locator("#notice-text")).to_have_text(
        "shapes is another artifact now: the images are drawn anew."
    )
    plain.drawn()
    assert plain.pixels().shape == (9, 20, 20, 3)
    for seen in (busy, idle):
        notice = seen.page.locator(NOTICE)
        expect(notice).to_contain_text("shapes is another artifact now: the images are drawn anew. Left out: ")
        expect(notice).to_contain_text("truncation=0.8 (shapes has uniform latents, without tails)")
        seen.drawn()
        expect(seen.page.locator("#classes")).to_be_hidden()
        expect(seen.page.locator("#truncation-hint")).to_have_text("Uniform latents have no tails to cut.")
        seed = int(seen.page.input_value("#seed"))
        assert seen.fragment == f"#model=shapes&seed={seed}&n=9&image=2"
        body = {"model": "shapes", "seed": seed, "n": 9, "format": "npy"}
        images = np.load(io.BytesIO(httpx.post(f"{service.url}/generate", json=body).content))
        assert np.array_equal(seen.pixels(), images)
        assert not np.array_equal(seen.pixels(), old)
        assert np.array_equal(seen.pixels("#panel .large")[0], images[2])
        expect(notice).to_be_visible()
        seen.picture("another-artifact")
        # Mixed as uniform latents are.
        seen.page.click("#like")
        seen.drawn()
        expect(notice).to_be_hidden()
        sent = json.loads([body for path, body in seen.calls if path == "/generate" and "latents" in body][-1])
        assert np.abs(sent["latents"]).max() == 1


def test_answers_name_the_artifact_that_they_are_of(http) -> None:
    artifacts = {model["name"]: model["artifact"] for model in http.get("/models").json()["models"]}
    assert len(set(artifacts.values())) == 2
    for name, artifact in artifacts.items():
        for path, body in (("generate", {"seed": 1}), ("latents", {"seeds": [1]}), ("interpolate", {"seeds": [1, 2]})):
            assert http.post(f"/{path}", json=body | {"model": name}).headers["x-gan-artifact"] == artifact
