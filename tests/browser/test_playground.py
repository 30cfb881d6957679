"""The playground as a person uses it: everything it offers, clicked through in a real browser."""

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from commands import PYTHON
from PIL import Image
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

LINK = "#model=shapes&seed=7&n=16"


def asked(http: httpx.Client, path: str = "/generate", **body: object) -> np.ndarray:
    """What the service draws, as uint8 (N, H, W, 3)."""
    response = http.post(path, json={"model": "shapes", "format": "npy"} | body)
    assert response.status_code == 200, response.text
    images = np.load(io.BytesIO(response.content), allow_pickle=False)
    return np.broadcast_to(images, (*images.shape[:3], 3))


def measures(page, name: str) -> list[float]:
    return page.evaluate("(name) => performance.getEntriesByName(name).map((e) => e.startTime + e.duration)", name)


def test_the_first_picture_comes_at_once_and_is_the_services_own(visit, service, http) -> None:
    seen = visit(service.url)
    seen.open()
    assert seen.page.locator("#sheet .tile").count() == 64
    (moment,) = measures(seen.page, "gan-first-picture")
    assert moment < 3000, "far above the second that it takes, for machines that do other things beside"
    # One request for all images; the latents, for the classes that the seeds drew, come after it.
    assert [path for path, _ in seen.calls][:1] == ["/generate"]
    assert len(seen.calls) <= 2
    seed = int(re.search(r"seed=(\d+)", seen.fragment)[1])
    assert "model=shapes" in seen.fragment
    assert np.array_equal(seen.pixels(), asked(http, n=64, seed=seed))
    first = seen.page.locator("#sheet .tile").first
    label = http.post("/latents", json={"seeds": [seed]}).json()["labels"][0]
    name = ["circle", "ring", "stripe", "wave", "cloud"][label]
    expect(first).to_have_attribute("aria-label", f"Image 1, seed {seed}, class {name}")
    seen.picture("sheet-light", full=True)


def test_seed_reroll_locks_and_keeping_the_seed(visit, service, http) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    page = seen.page
    page.fill("#seed", "100")
    page.press("#seed", "Enter")
    seen.drawn()
    assert np.array_equal(seen.pixels(), asked(http, n=16, seed=100))
    page.locator("#sheet .tile").nth(5).focus()
    page.keyboard.press("l")
    expect(page.locator("#sheet .tile").nth(5)).to_have_attribute("aria-label", re.compile("seed 105.*locked"))
    before = seen.pixels()
    page.click("#reroll")
    expect(page.locator("#seed")).not_to_have_value("100")
    seen.drawn()
    after = seen.pixels()
    assert np.array_equal(after[5], before[5])
    assert not any(np.array_equal(after[i], before[i]) for i in range(16) if i != 5)
    assert "lock=5:105" in seen.fragment
    page.click("#hold")
    kept = page.input_value("#seed")
    page.keyboard.press("r")
    expect(page.locator("#status")).to_contain_text("seed is kept")
    assert page.input_value("#seed") == kept
    for wrong in ("-1", "1.5", "abc", str(2**53), ""):
        page.fill("#seed", wrong)
        page.press("#seed", "Enter")
        expect(page.locator("#seed-hint")).to_contain_text("Use a whole number from 0 to 9007199254740976")
        expect(page.locator("#seed")).to_have_attribute("aria-invalid", "true")


def test_classes_number_truncation_and_model(visit, service, http) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    page = seen.page
    page.get_by_role("button", name="wave", exact=True).click()
    seen.drawn()
    assert np.array_equal(seen.pixels(), asked(http, n=16, seed=7, label="wave"))
    page.get_by_role("button", name="ring", exact=True).click()
    page.select_option("#n", "9")
    seen.drawn()
    assert np.array_equal(seen.pixels(), asked(http, n=9, seed=7, label=[1, 3, 1, 3, 1, 3, 1, 3, 1]))
    page.click("#classes-all")
    page.fill("#truncation", "0.6")
    seen.drawn()
    cut = asked(http, n=9, seed=7, label=[0, 1, 2, 3, 4, 0, 1, 2, 3], truncation=0.6)
    assert np.array_equal(seen.pixels(), cut)
    page.select_option("#model", "colours")
    seen.drawn()
    assert np.array_equal(seen.pixels(), asked(http, model="colours", n=9, seed=7))
    expect(page.locator("#classes")).to_be_hidden()
    expect(page.locator("#truncation")).to_be_disabled()
    expect(page.locator("#directions-hint")).to_contain_text("has none")
    page.go_back()
    seen.drawn()
    assert np.array_equal(seen.pixels(), cut)


def test_a_slider_redraws_with_one_request_and_says_how_long_it_took(visit, service, http) -> None:
    seen = visit(service.url)
    seen.open("#model=shapes&seed=7&label=2")
    page = seen.page
    slider = page.locator("#directions input").first
    assert page.locator("#directions input").count() == 8
    slider.focus()
    expect(page.locator("#directions .slider .value").first).to_have_text("0")
    page.wait_for_timeout(300)  # the latents come when the slider is touched
    seen.calls.clear()
    page.keyboard.press("ArrowRight")
    seen.drawn()
    assert [path for path, _ in seen.calls] == ["/generate"]
    offset = float(slider.input_value())
    latents = np.array(http.post("/latents", json={"seeds": list(range(7, 71))}).json()["latents"])
    direction = np.array(http.get("/models/shapes").json()["directions"][0])
    moved = asked(http, latents=(latents + offset * direction).tolist(), label=2)
    assert np.array_equal(seen.pixels(), moved)
    page.evaluate("performance.clearMeasures()")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    seen.drawn()
    took = page.evaluate("performance.getEntriesByName('gan-redraw').at(-1).duration")
    assert took < 1000, "far above the 150 ms that it takes, for machines that do other things beside"
    page.click("#directions-reset")
    seen.drawn()
    assert np.array_equal(seen.pixels(), asked(http, n=64, seed=7, label=2))


def test_an_image_its_neighbours_and_more_like_it(visit, service) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    page = seen.page
    page.locator("#sheet .tile").nth(6).click()
    panel = page.locator("#panel")
    expect(panel).to_contain_text("Image 7")
    expect(panel.locator(".facts")).to_contain_text("13")
    strip = page.locator(".strip .tile")
    expect(strip).to_have_count(8)
    image = seen.pixels()[6]
    assert np.array_equal(seen.pixels("#panel .large")[0], image)
    near = seen.pixels(".strip canvas")
    page.locator("#neighbour-alike").fill("0.3")
    expect(panel.get_by_text("30 %", exact=True)).to_be_visible()
    deadline = time.monotonic() + 10
    while np.array_equal(far := seen.pixels(".strip canvas"), near) and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    distance = [np.abs(others.astype(int) - image).mean() for others in (near, far)]
    assert distance[0] < distance[1], "less alike should look less alike"
    seen.picture("detail")
    page.click("#like")
    expect(page.locator("#centre")).to_be_visible()
    seen.drawn()
    sheet = seen.pixels()
    assert np.array_equal(sheet[0], image)
    assert np.array_equal(sheet[1:9], far)
    seen.picture("more-like-this")
    page.locator("#sheet .tile").nth(4).click()
    page.click("#like")
    seen.drawn()
    expect(page.locator("#centre-text")).to_contain_text("seed 13 and 1 step")
    assert np.array_equal(seen.pixels()[0], sheet[4])
    page.click("#back")
    expect(page.locator("#centre")).to_be_hidden()
    seen.drawn()


def test_dragging_from_image_to_image_plays_the_way_between(visit, service, http) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    page = seen.page
    start, end = (page.locator("#sheet .tile").nth(i).bounding_box() for i in (1, 14))
    page.mouse.move(start["x"] + 9, start["y"] + 9)
    page.mouse.down()
    page.mouse.move(end["x"] + 9, end["y"] + 9, steps=5)
    expect(page.locator(".drag-line")).to_be_attached()
    page.mouse.up()
    expect(page.locator("#panel-title")).to_have_text("From image 2 to image 15")
    expect(page.locator(".drag-line")).not_to_be_attached()
    expect(page.locator("#play")).to_have_text("Pause")
    page.wait_for_timeout(250)
    assert int(page.input_value("#frame")) > 0, "it plays"
    seen.picture("path")
    page.click("#play")
    frames = asked(http, "/interpolate", seeds=[8, 21], steps=48)
    for at in (0, 17, 48):
        page.fill("#frame", str(at))
        assert np.array_equal(seen.pixels("#panel .large")[0], frames[at])
    page.select_option("#steps", "12")
    expect(page.locator("#frame")).to_have_attribute("max", "12")
    with page.expect_download() as download:
        page.locator("#panel").get_by_role("button", name="GIF").click()
    with Image.open(download.value.path()) as animation:
        assert (animation.format, animation.size, animation.n_frames) == ("GIF", (28, 28), 24)
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    assert page.evaluate("document.activeElement.dataset.place") == "14"


def test_downloads_of_the_sheet_and_of_an_image(visit, service, http) -> None:
    seen = visit(service.url)
    seen.open(LINK + "&image=2")
    page = seen.page

    def saved(button) -> bytes:
        with page.expect_download() as download:
            button.click()
        return Path(download.value.path()).read_bytes()

    sheet = Image.open(io.BytesIO(saved(page.locator("#sheet-png"))))
    expected = http.post("/generate", json={"model": "shapes", "seed": 7, "n": 16, "format": "png"}).content
    assert np.array_equal(np.asarray(sheet), np.asarray(Image.open(io.BytesIO(expected))))
    array = np.load(io.BytesIO(saved(page.locator("#sheet-npy"))))
    assert np.array_equal(np.broadcast_to(array, (16, 28, 28, 3)), seen.pixels())
    assert saved(page.locator("#sheet-gif")).startswith(b"GIF89a")
    panel = page.locator("#panel")
    alone = np.asarray(Image.open(io.BytesIO(saved(panel.get_by_role("button", name="PNG")))).convert("RGB"))
    assert np.array_equal(alone, seen.pixels()[2])
    latent = saved(panel.get_by_role("button", name="latent"))
    assert latent.startswith(b"[[")


STATES = {
    "plain": "#model=shapes&seed=9007199254740900&n=16",
    "classes": "#model=shapes&seed=5&n=25&label=0,4&truncation=0.9",
    "directions": "#model=shapes&seed=5&n=9&directions=1:1.5,3:-0.7",
    "locks": "#model=shapes&seed=5&n=9&lock=0:77,4:1",
    "neighbours": "#model=shapes&seed=13&n=16&label=2&directions=2:1&like=6,0.8:40&alike=0.9",
    "image": "#model=shapes&seed=5&n=9&image=3",
    "path": "#model=shapes&seed=5&n=9&path=1,7&steps=24",
    "uniform": "#model=colours&seed=5&n=9&like=4&alike=0.7",
}


def test_a_link_shows_the_same_picture_to_somebody_else(visit, service) -> None:
    mine, yours = visit(service.url), visit(service.url)
    mine.open(LINK)
    for kind, fragment in STATES.items():
        mine.page.goto(f"{service.url}/ui/{fragment}")  # the page stays, and follows
        mine.page.wait_for_timeout(50)
        mine.drawn()
        address = mine.fragment
        assert address == fragment, "what a link says stays in the address"
        yours.page.goto("about:blank")
        yours.open(address)
        assert np.array_equal(mine.pixels(), yours.pixels()), kind
        if kind in ("image", "path"):
            expect(yours.page.locator("#panel")).to_be_visible()
            expect(mine.page.locator("#panel")).to_be_visible()


def run(command: list[str | Path], folder: Path, text: str | None = None) -> None:
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kind", "fragment"),
    [
        ("sheet", "#model=shapes&seed=5&n=9&label=0,4&truncation=0.9"),
        ("image", "#model=shapes&seed=5&n=9&image=3"),
        ("latents", "#model=shapes&seed=5&n=4&directions=1:1.5&label=1"),
        ("neighbour", "#model=shapes&seed=13&n=9&label=2&like=6&alike=0.9&image=5"),
    ],
)
def test_the_calls_that_are_copied_give_the_picture(visit, service, tmp_path: Path, kind: str, fragment: str) -> None:
    seen = visit(service.url, permissions=["clipboard-read", "clipboard-write"])
    seen.open(fragment)
    page = seen.page
    one = "image=" in fragment
    if one:
        expect(page.locator("#call-title")).to_contain_text("for image")
    pictures = seen.pixels("#panel .large" if one else "#sheet canvas")
    copied = {}
    for language in ("curl", "python", "cli"):
        page.click(f"#call-{language}")
        page.click("#call-copy")
        expect(page.locator("#call-copy")).to_have_text("Copied")
        copied[language] = page.evaluate("navigator.clipboard.readText()")
        folder = tmp_path / language
        folder.mkdir()
    run(["bash", "-e"], tmp_path / "curl", copied["curl"])
    run([sys.executable, "-c", copied["python"]], tmp_path / "python")
    columns = 1 if one else 4 if "label=0,4" in fragment else round(len(pictures) ** 0.5)
    border, name = (0, "image.png") if one else (2, "sheet.png")
    by_curl, by_python = (np.asarray(Image.open(tmp_path / language / name)) for language in ("curl", "python"))
    assert np.array_equal(by_curl, by_python)
    for language, made in (("curl", by_curl), ("python", by_python)):
        for i, picture in enumerate(pictures):
            y, x = border + 30 * (i // columns), border + 30 * (i % columns)
            assert np.array_equal(made[y : y + 28, x : x + 28], picture[..., 0]), f"{language}: image {i}"
    run(["bash", "-e"], tmp_path / "cli", f'PATH="{Path(PYTHON).parent}:$PATH"\n{copied["cli"]}')
    drawn = sorted((tmp_path / "cli" / "samples").glob("*.png"))
    found = [np.asarray(Image.open(path).convert("RGB")) for path in drawn]
    for picture in pictures:
        assert any(np.array_equal(picture, each) for each in found), f"{kind}: the command drew another image"


def test_the_card_the_certificate_and_the_metrics(visit, service, http) -> None:
    seen = visit(service.url)
    seen.open(LINK)
    page = seen.page
    about = page.locator("#about-page")
    expect(about).to_contain_text("für Tests")
    curves = about.get_by_alt_text("curves of the training")
    expect(curves).to_have_js_property("naturalWidth", 1200)
    assert curves.bounding_box()["width"] <= about.bounding_box()["width"]
    page.click("#about-certificate")
    expect(about).to_contain_text("Compared with NumPy")
    expect(about.locator(".good")).to_have_text(["passed"])
    page.keyboard.press("ArrowRight")
    expect(page.locator("#about-metrics")).to_be_focused()
    count = about.locator("tr", has_text="Images generated, this model")
    http.post("/generate", json={"model": "shapes", "n": 200, "format": "npy"})
    series = re.search(
        r'^gan_images_total\{model="shapes",outcome="generated"\} (\S+)$', http.get("/metrics").text, re.M
    )
    assert float(series[1]) >= 200
    expect(count.locator("td").nth(1)).to_have_text(f"{float(series[1]):,.0f}")
    expect(page.locator("#live")).to_contain_text("images/s")
    expect(page.locator("#live")).to_contain_text("0 waiting")
