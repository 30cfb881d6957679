"""POST /latents: the numbers are those that the seeds' images are drawn from, to the byte."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from toy_artifact import write_artifact
from trap_artifact import CLASSES, DIM, write_trap

from gan_export.artifact import SEED_LIMIT, draw

pytestmark = pytest.mark.slow

KEYS = ["a-key-for-ordinary-calls", "a-key-that-asks-too-much"]
SEEDS = [0, 1, 99, 2**32, SEED_LIMIT - 1]


@pytest.fixture(scope="module")
def service(serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    folder: Path = tmp_path_factory.mktemp("latents")
    write_trap(folder / "animals", size=16)
    write_artifact(folder / "plain")
    with serve(
        models=folder, default_model="animals", api_keys=",".join(KEYS), rate_images=1000, max_n=3000
    ) as running:
        yield running


@pytest.fixture(scope="module")
def http(service) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEYS[0]}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=30) as client:
        yield client


def images(http: httpx.Client, **body: object) -> np.ndarray:
    response = http.post("/generate", json={"format": "npy"} | body)
    assert response.status_code == 200, response.text
    return np.load(io.BytesIO(response.content), allow_pickle=False)


@pytest.mark.parametrize("truncation", [None, 0.7])
def test_its_latents_and_labels_draw_the_seeds_images_to_the_byte(http: httpx.Client, truncation: float | None) -> None:
    cut = {} if truncation is None else {"truncation": truncation}
    answer = http.post("/latents", json={"seeds": SEEDS, **cut})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["model"] == answer.headers["x-gan-model"] == "animals"
    drawn = draw(SEEDS, DIM, "normal", classes=len(CLASSES), truncation=truncation)
    # Exactly: the numbers are read back as they were, before any rounding to float32.
    assert np.array_equal(np.array(found["latents"], np.float64), drawn.latents.astype(np.float64))
    assert found["labels"] == drawn.labels.tolist()
    again = images(http, latents=found["latents"], label=found["labels"])
    assert np.array_equal(again, images(http, seeds=SEEDS, **cut))


def test_without_classes_there_are_no_labels(http: httpx.Client) -> None:
    found = http.post("/latents", json={"model": "plain", "seeds": [5, 5, 4]}).json()
    assert found["labels"] is None
    assert found["latents"][0] == found["latents"][1] != found["latents"][2]
    assert np.array_equal(
        images(http, model="plain", latents=found["latents"]), images(http, model="plain", seeds=[5, 5, 4])
    )


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ({}, 400, "seeds", "seeds is missing; it must be a list of 1 to 3000 whole numbers"),
        ({"seeds": []}, 400, "seeds", "seeds is []"),
        ({"seeds": [1, -1]}, 400, "seeds", "seeds[1] is -1"),
        ({"seeds": [SEED_LIMIT]}, 400, "seeds", "0 <= seed < 2**53"),
        ({"seeds": [1.5]}, 400, "seeds", "seeds[0] is 1.5"),
        ({"seeds": list(range(3001))}, 400, "seeds", "seeds has 3001 entries; a request is for at most 3000 latents"),
        ({"seeds": [1], "truncation": 0}, 400, "truncation", "truncation is 0"),
        ({"seeds": [1], "n": 1}, 400, "n", "unknown field 'n'; expected one of model, seeds, truncation"),
        ({"seeds": [1], "model": "nobody"}, 404, "model", "'nobody'"),
    ],
)
def test_what_it_refuses_is_said_in_one_line(
    http: httpx.Client, body: dict, status: int, param: str, words: str
) -> None:
    answer = http.post("/latents", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["param"] == param
    assert words in error["message"]
    assert "\n" not in error["message"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_it_wants_a_key_and_counts_latents_as_images(service) -> None:
    assert httpx.post(f"{service.url}/latents", json={"seeds": [1]}).status_code == 401
    headers = {"X-API-Key": KEYS[1]}
    much = httpx.post(f"{service.url}/latents", json={"seeds": list(range(3000))}, headers=headers)
    assert len(much.json()["latents"]) == 3000
    refused = httpx.post(f"{service.url}/latents", json={"seeds": [1]}, headers=headers)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 3


def test_the_description_knows_it(http: httpx.Client) -> None:
    call = http.get("/docs.json").json()["paths"]["/latents"]["post"]
    assert call["requestBody"]["required"] is True
    assert {"200", "400", "401", "404", "429"} <= set(call["responses"])
