"""GET /generate is the POST that its query says, and refuses what a query can't say."""

import json

import httpx
import pytest
from over_http import over_http

from gan_client.types import GenerateRequest
from gan_serving.errors import InvalidRequestError
from gan_serving.requests.query import PARAMETERS, body_of


def test_a_query_becomes_the_same_request() -> None:
    asked = "model=m&n=4&seed=3&label=rote+%C3%84pfel&truncation=0.5&format=jpeg&columns=2&quality=80"
    request = GenerateRequest.model_validate_json(body_of(asked.encode()))
    assert request.model_dump(exclude_none=True) == {
        "model": "m", "n": 4, "seed": 3, "label": "rote \u00c4pfel", "truncation": 0.5, "format": "jpeg", "columns": 2,
        "quality": 80,
    }  # fmt: skip
    assert body_of(b"") == b"{}"
    assert json.loads(body_of("label=\u00c4".encode())) == {"label": "\u00c4"}  # as curl sends what was typed
    assert set(PARAMETERS) == set(GenerateRequest.model_fields) - {"seeds", "latents"}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "seeds=1",
            "unknown parameter 'seeds'; GET takes model, n, seed, label, truncation, format, columns, quality,",
        ),
        ("label=1&label=2", "label is given twice; GET takes one value, and lists are for POST"),
    ],
)
def test_lists_and_what_is_unknown_are_refused(query: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match="^" + message):
        body_of(query.encode())


def test_the_same_bytes_as_a_post_and_how_long_they_may_be_kept(digits) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        address = "/generate?label=7&seed=3&format=png"
        posted = await client.post("/generate", json={"label": 7, "seed": 3, "format": "png"})
        got = await client.get(address)
        assert (got.status_code, got.content, got.headers["etag"]) == (200, posted.content, posted.headers["etag"])
        assert (got.headers["cache-control"], got.headers["vary"]) == ("private, no-cache", "Accept")
        known = await client.get(address, headers={"If-None-Match": got.headers["etag"]})
        assert (known.status_code, known.headers["cache-control"]) == (304, "private, no-cache")
        by_chance = await client.get("/generate", headers={"Accept": "image/webp"})
        assert (by_chance.headers["content-type"], by_chance.headers["cache-control"]) == ("image/webp", "no-store")
        assert (await client.head(address)).headers["etag"] == got.headers["etag"]
        for query, param in (
            ("n=many", "n"),
            ("seed=", "seed"),
            ("seed=07", "seed"),
            ("label=10", "label"),
            ("z=1", "z"),
        ):
            refused = await client.get(f"/generate?{query}")
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
            assert refused.headers["cache-control"] == "no-store"
        other = await client.put("/generate")
        assert (other.status_code, set(other.headers["allow"].split(", "))) == (405, {"GET", "HEAD", "POST"})

    over_http(digits, scenario)
