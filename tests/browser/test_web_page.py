"""The web page of docs/getting-started.md, which another server gives out, shows what the service generates."""

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

PAGE = Path(__file__).resolve().parents[2] / "docs" / "getting-started.md"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    """What `python -m http.server` gives out in tmp_path."""
    with ThreadingHTTPServer(("localhost", 0), partial(Quiet, directory=tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_page_of_the_docs_shows_images(
    browser: Browser, origin: str, painted: Path, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    block = re.search(r"```html\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert block is not None
    with serve(models=painted, default_model="shapes", cors_origins=origin) as service:
        (tmp_path / "index.html").write_text(block[1].replace("http://localhost:3000", service.url), "utf-8")
        page = browser.new_page()
        page.set_default_timeout(10_000)
        page.goto(origin)
        page.get_by_role("button").click()
        page.wait_for_function("document.querySelector('img').naturalWidth > 0")
        # 4 x 4 images of 28 x 28 with gaps.
        assert page.evaluate("document.querySelector('img').naturalWidth") >= 4 * 28
        page.close()
