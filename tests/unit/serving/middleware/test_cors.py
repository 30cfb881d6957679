"""What a browser needs to see, on answers and on refusals, through a real guard."""

import asyncio
from typing import Any

import httpx
import pytest
from guarding import guard_of
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from gan_client.types import ErrorBody
from gan_serving.errors import RateLimitedError, UnauthorizedError
from gan_serving.middleware.cors import allowed_origins, with_cors
from gan_serving.middleware.foreign_pages import ForeignPages
from gan_serving.settings import Settings, SettingsError

OURS, THEIRS = "https://gallery.example", "https://other.example:8443"
EXPOSED = {
    "etag",
    "inference-header-content-length",
    "retry-after",
    "x-gan-artifact",
    "x-gan-frames",
    "x-gan-model",
    "x-gan-seed",
    "x-request-id",
}


async def generate(_: Request) -> Response:
    return JSONResponse({"seed": 1}, headers={"X-Gan-Seed": "1"})


async def models(_: Request) -> Response:
    return JSONResponse([])


async def unauthorized(_: Request) -> Response:
    raise UnauthorizedError("no key")


async def limited(_: Request) -> Response:
    raise RateLimitedError("too fast", 3)


def call(
    method: str, path: str = "/generate", origin: str | None = OURS, *, origins: str | None, **headers: str
) -> Any:
    routes = [
        Route(f"/{end.__name__}", end, methods=["GET", "POST"]) for end in (generate, models, unauthorized, limited)
    ]
    settings = Settings(cors_origins=origins)
    pages = ForeignPages(allowed_origins(settings))
    app = with_cors(guard_of(Router(routes), max_body=1000, timeout=30, pages=pages), settings)
    sent = {name.replace("_", "-"): value for name, value in headers.items()} | ({"Origin": origin} if origin else {})

    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            return await client.request(method, path, headers=sent)

    return asyncio.run(request())


def preflight(origin: str = OURS, method: str = "POST", wanted: str = "", *, origins: str | None) -> httpx.Response:
    headers = {"Access_Control_Request_Method": method} | ({"Access_Control_Request_Headers": wanted} if wanted else {})
    response: httpx.Response = call("OPTIONS", origin=origin, origins=origins, **headers)
    return response


def test_off_by_default():
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert with_cors(app, Settings()) is app
    assert with_cors(app, Settings(cors_origins=" , ")) is app
    response = call("GET", "/models", origins=None)
    assert response.status_code == 200
    assert not any(name.startswith("access-control") for name in response.headers)
    assert preflight(origins=None).status_code == 405


@pytest.mark.parametrize("origins", [OURS, f"{THEIRS}, {OURS},", "*", f"*,{THEIRS}"])
@pytest.mark.parametrize(
    ("path", "status"), [("/generate", 200), ("/unauthorized", 401), ("/limited", 429), ("/nowhere", 404)]
)
def test_answers_and_refusals_can_be_read_by_a_listed_page(origins: str, path: str, status: int):
    response = call("POST", path, origins=origins)
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == ("*" if "*" in origins else OURS)
    exposed = {name.strip().lower() for name in response.headers["access-control-expose-headers"].split(",")}
    assert exposed == EXPOSED
    assert "x-request-id" in response.headers
    assert "access-control-allow-credentials" not in response.headers
    assert "*" in origins or "Origin" in response.headers["vary"]


def test_the_headers_of_a_refusal_come_through():
    assert call("POST", "/unauthorized", origins=OURS).headers["www-authenticate"] == "Bearer"
    assert call("POST", "/limited", origins=OURS).headers["retry-after"] == "3"


@pytest.mark.parametrize("origin", ["https://evil.example", OURS + ".evil.example", OURS + ":8443", "null", None])
def test_other_pages_are_not_told_that_they_may(origin: str | None):
    response = call("GET", "/models", origin, origins=f"{OURS},{THEIRS}")
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["vary"] == "Origin"


def test_a_preflight_is_answered_without_a_key_and_without_the_service():
    response = preflight(wanted="authorization, content-type, x-api-key, x-request-id, if-none-match", origins=OURS)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == OURS
    assert "POST" in response.headers["access-control-allow-methods"]
    assert int(response.headers["access-control-max-age"]) > 0


def test_a_listed_page_may_call_a_service_in_the_visitors_network():
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Private_Network": "true"}
    response = call("OPTIONS", origins=OURS, **asked)
    assert (response.status_code, response.headers["access-control-allow-private-network"]) == (200, "true")
    assert "access-control-allow-private-network" not in preflight(origins=OURS).headers
    refused = call("OPTIONS", origin=THEIRS, origins=OURS, **asked)
    assert refused.status_code == 400
    assert f"origin {THEIRS!r} may not call" in refused.json()["error"]["message"]
    assert "access-control-allow-private-network" not in refused.headers


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"origin": "https://evil.example"}, "origin 'https://evil.example' may not call; GAN_CORS_ORIGINS lists"),
        ({"method": "DELETE"}, "method 'DELETE', but with GET, HEAD, POST"),
        ({"wanted": "x-surprise"}, "headers 'x-surprise' only Authorization, Content-Type"),
    ],
)
def test_a_preflight_that_is_refused_has_the_shape_of_errors(changes: dict[str, str], what: str):
    response = preflight(origins=OURS, **changes)
    assert response.status_code == 400
    body = ErrorBody.model_validate_json(response.content)
    assert body.error.code == "cors"
    assert what in body.error.message
    assert body.request_id == response.headers["x-request-id"]
    assert int(response.headers["content-length"]) == len(response.content)
    if "origin" in changes:
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "origin",
    ["gallery.example", "https://gallery.example/", "https://Gallery.example", "https://*.example", "null", "https://",
     "https://a.example/path", "https://a.example:port", "https://a b"],
)  # fmt: skip
def test_what_is_no_origin_is_one_clear_line(origin: str):
    with pytest.raises(SettingsError) as caught:
        with_cors(Router(), Settings(cors_origins=f"{OURS},{origin}"))
    message = str(caught.value)
    assert message.startswith(f"GAN_CORS_ORIGINS has {origin!r}; ")
    assert "\n" not in message


@pytest.mark.parametrize("origin", ["http://localhost:8080", "http://127.0.0.1", "http://[::1]:3000", "app://bundle"])
def test_local_pages_are_origins_too(origin: str):
    assert call("POST", origin=origin, origins=origin).headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("origin", [OURS, "https://service.evil.example", "http://service:8080", "null", "", "://"])
def test_what_a_foreign_page_sends_is_refused_whatever_comes_first(origin: str):
    for path in ("/generate", "/unauthorized", "/limited"):
        response = call("POST", path, None, origins=THEIRS, Origin=origin, Sec_Fetch_Site="cross-site")
        assert response.status_code == 403
        body = ErrorBody.model_validate_json(response.content)
        assert body.error.code == "foreign_page"
        assert repr(origin) in body.error.message
        assert "GAN_CORS_ORIGINS" in body.error.message
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        (None, {}),
        ("http://service", {}),
        ("HTTP://Service", {}),
        ("http://service", {"Host": "service:80"}),
        ("https://service", {"Host": "service:443"}),
        ("http://[::1]:3000", {"Host": "[::1]:3000"}),
        ("https://front.example", {"X_Forwarded_Host": "front.example, inner"}),
        ("http://service:8080", {"X_Forwarded_Port": "8080"}),
        ("http://front:8080", {"X_Forwarded_Host": "front", "X_Forwarded_Port": "8080"}),
        ("https://front.example", {"Sec_Fetch_Site": "same-origin"}),
        ("null", {"Sec_Fetch_Site": "same-origin"}),
        ("null", {"Sec_Fetch_Site": "none"}),
    ],
)
def test_the_services_own_pages_may_call_behind_a_proxy_too(origin: str | None, headers: dict[str, str]):
    assert call("POST", origin=origin, origins=None, **headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Sec_Fetch_Site": "same-site"}, {"Host": "service:443"}, {"X_Forwarded_Host": ""}, {"X_Forwarded_Port": "8080"}],
)
def test_what_is_near_is_foreign(headers: dict[str, str]):
    assert call("POST", origin="http://service.example", origins=None, **headers).status_code == 403


def test_any_page_may_call_where_all_are_listed():
    for origin in (OURS, "null"):
        assert call("POST", origin=origin, origins="*").status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"Sec_Fetch_Site": "none"}, 200),  # typed in
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "same-site", "Referer": "http://localhost:5173/"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Referer": f"{OURS}/gallery/?page=2"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Origin": OURS}, 200),  # <img crossorigin>
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Referer": f"{THEIRS}/"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Referer": f"{OURS}.evil.example/{OURS}"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Origin": THEIRS, "Referer": f"{OURS}/"}, 403),
        ({"Origin": THEIRS}, 403),
    ],
)
def test_an_image_that_a_page_embeds_is_drawn_for_pages_that_may_call(
    method: str, headers: dict[str, str], status: int
):
    assert call(method, "/generate", None, origins=OURS, **headers).status_code == status
    assert call(method, "/models", None, origins=OURS, **headers).status_code == 200
