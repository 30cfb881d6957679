"""What a web page of somebody else has a visitor's browser send, by a form or by `fetch` without CORS."""

import httpx
import pytest
from asking import PATIENCE, look, post

pytestmark = pytest.mark.slow

FORM = {"origin": "https://evil.example", "content-type": "text/plain", "sec-fetch-site": "cross-site"}


@pytest.mark.parametrize(
    "path",
    ["/generate", "/interpolate", "/latents", "/models/reload", "/v2/repository/models/small/unload"],
)
def test_nothing_is_done_for_it(trapped, path: str) -> None:
    before = look(trapped)
    answer = httpx.post(trapped.url + path, content=b'{"seeds": [1, 2]}', headers=FORM, timeout=PATIENCE)
    assert answer.status_code == 403
    said = answer.json()
    assert (said["code"] if path.startswith("/v2") else said["error"]["code"]) == "foreign_page"
    assert httpx.get(f"{trapped.url}/models/small", timeout=PATIENCE).status_code == 200
    after = look(trapped)
    assert after.images("generated") == before.images("generated")
    assert after.total("gan_rejections_total", reason="foreign_page") == 1 + before.total(
        "gan_rejections_total", reason="foreign_page"
    )


def test_the_services_own_page_and_programs_are_served(trapped) -> None:
    for headers in ({}, {"origin": trapped.url}, {"origin": "http://proxy.example", "sec-fetch-site": "same-origin"}):
        assert post(trapped, {"seed": 1}, **headers).status_code == 200
