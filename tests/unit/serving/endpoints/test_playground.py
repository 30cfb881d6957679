"""The playground's files as they are served: complete, closed to the outside, and nothing else."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from hatchling.builders.wheel import WheelBuilder
from starlette.routing import Router

from gan_serving.endpoints.playground import PAGE, POLICY, ROUTES, files
from gan_serving.middleware.api_keys import Keys

ROOT = Path(__file__).resolve().parents[4]
UI = ROOT / "serving" / "gan_serving" / "ui"
APP = Router(list(ROUTES), redirect_slashes=False)  # as the gateway has it
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def get(path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=APP)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return asyncio.run(ask())


def text(name: str) -> str:
    return (UI / name).read_text("utf-8")


def imports(name: str) -> set[str]:
    """The modules that a module imports."""
    return set(re.findall(r'^import (?:.* from )?"\./([\w-]+\.js)";$', text(name), re.MULTILINE))


def modules() -> set[str]:
    """Every module that the page's program needs."""
    found, new = set(), {"main.js"}
    while new:
        found |= new
        new = {each for name in new for each in imports(name)} - found
    return found


@pytest.mark.parametrize("name", sorted(files()))
def test_every_file_is_served_as_what_it_is_and_asked_for_once(name: str):
    answer = get(f"/ui/{name}")
    assert answer.status_code == 200
    assert answer.content == (UI / name).read_bytes()
    assert answer.headers["content-type"].startswith(TYPES[name.split(".")[-1]])
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = get(f"/ui/{name}", if_none_match=answer.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]
    assert get(f"/ui/{name}", if_none_match='"another"').status_code == 200
    head = get(f"/ui/{name}", "HEAD")
    assert (head.status_code, head.content) == (200, b"")


def test_the_folder_is_the_page_and_without_its_slash_leads_there():
    assert get("/ui/").content == (UI / PAGE).read_bytes()
    for path, target in (("/ui", "ui/"), ("/ui?a=b", "ui/?a=b"), ("/", "ui/")):
        answer = get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, target)


@pytest.mark.parametrize(
    "path",
    [
        "/ui/..%2fkeys.py",
        "/ui/%2e%2e%2fservice.py",
        "/ui/..%5cservice.py",
        "/ui//etc/passwd",
        "/ui/%2fetc%2fpasswd",
        "/ui/..%2fendpoints%2fplayground.py",
        "/ui/main.js/",
        "/ui/main.js%00.css",
        "/ui/MAIN.JS",
        "/ui/__init__.py",
    ],
)
def test_nothing_else_can_be_had(path: str):
    assert get(path).status_code in (404, 405)


def test_it_is_read_only():
    for method in ("POST", "PUT", "DELETE"):
        assert get("/ui/main.js", method).status_code == 405


def test_the_page_needs_no_key_and_what_it_calls_does():
    keys = Keys((("somebody", b"0" * 32),))
    assert all(keys.is_open("GET", f"/ui/{name}") for name in ("", *files()))
    assert not any(keys.is_open(method, path) for method, path in (("GET", "/models"), ("POST", "/latents")))


def test_all_files_are_used_and_all_that_are_used_are_there():
    page = text(PAGE)
    named = set(re.findall(r'(?:src|href)="([^"#]+)"', page))
    assert named - set(files()) == set()
    assert modules() | {PAGE, "style.css", "theme.js", "icon.svg"} == set(files())
    preloaded = set(re.findall(r'<link rel="modulepreload" href="([^"]+)">', page))
    assert preloaded == modules(), "a module that isn't named is found only after another has come"


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    page = text(PAGE)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
    assert all(body == "" for body in re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL))
    for name in files():
        addresses = set(re.findall(r"""https?://[^\s"'`)\]]+""", text(name)))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
        assert "innerHTML" not in text(name)
        assert "eval(" not in text(name)


def test_every_element_that_the_program_looks_for_is_there():
    ids = set(re.findall(r'\bid="([\w-]+)"', text(PAGE)))
    looked_for = {each for name in modules() for each in re.findall(r'\$\("([\w-]+)"\)', text(name))}
    assert looked_for
    assert looked_for <= ids
    referred = re.findall(r'\b(?:for|aria-labelledby|aria-describedby|aria-controls)="([^"]+)"', text(PAGE))
    assert {each for group in referred for each in group.split()} <= ids


def test_the_wheel_has_them():
    packed = {Path(entry.distribution_path).as_posix() for entry in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"gan_serving/ui/{name}" for name in files()} <= packed
