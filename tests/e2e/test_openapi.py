"""/docs.json is what the service does: a valid document, and a fuzzer that knows it finds nothing."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from commands import PYTHON
from openapi_spec_validator import validate
from PIL import Image

from gan_serving import errors

pytestmark = pytest.mark.slow

CALL = """
import bentoml, json, sys
print(json.dumps(bentoml.SyncHTTPClient(sys.argv[1]).generate(**json.loads(sys.argv[2]))))
"""


@pytest.fixture(scope="module")
def document(service) -> dict:
    return httpx.get(f"{service.url}/docs.json").json()


def test_it_is_valid_and_has_every_range_and_error(document: dict) -> None:
    validate(document)
    fields = document["components"]["schemas"]["GenerateRequest"]["properties"]
    assert fields["n"]["anyOf"][0] | {"description": ""} == {
        "type": "integer", "minimum": 1, "maximum": 4096, "description": "",
    }  # fmt: skip
    assert fields["seed"]["anyOf"][0]["exclusiveMaximum"] == 2**53
    assert fields["truncation"]["anyOf"][0]["maximum"] == 10
    assert all("description" in field for field in fields.values())
    statuses = set(document["paths"]["/generate"]["post"]["responses"])
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ServiceError)]
    # Nobody reads a 499; a refused load is told by /v2 only; the bare class is raised nowhere.
    silent = {"caller_left", "not_loadable", "internal"}
    told = {str(kind.status) for kind in kinds if kind.code not in silent}
    assert told <= statuses


def test_every_code_is_told_where_it_may_come(document: dict) -> None:
    def codes(path: str, method: str, status: int) -> set[str]:
        response = document["paths"][path][method]["responses"].get(str(status), {"description": ""})
        return set(re.findall(r"`(\w+)`: ", response["description"]))

    for path, method in (("/generate", "get"), ("/generate", "post"), ("/interpolate", "post")):
        assert codes(path, method, 429) == {"rate_limited", "queue_full"}
        assert codes(path, method, 500) == {"internal", "generation_failed"}
        assert codes(path, method, 403) == {"foreign_page"}
    for path, method in (("/latents", "post"), ("/models/reload", "post"), ("/models", "get"), ("/livez", "get")):
        assert codes(path, method, 429) == {"rate_limited"}
        assert codes(path, method, 500) == {"internal"}
        assert codes(path, method, 503) == {"not_ready", "too_many_connections"}
        assert codes(path, method, 403) == ({"foreign_page"} if method == "post" else set())


def test_what_a_caller_may_send_beside_the_body_is_told(document: dict) -> None:
    for calls in document["paths"].values():
        for call in (calls[method] for method in ("get", "post") if method in calls):
            headers = {parameter["name"] for parameter in call["parameters"]}
            assert ("If-None-Match" in headers) == ("304" in call["responses"])
    named = {scheme.get("name", scheme["type"]) for scheme in document["components"]["securitySchemes"].values()}
    assert named == {"http", "X-API-Key"}
    assert {name for one in document["security"] for name in one} == set(document["components"]["securitySchemes"])


def test_a_fuzzer_finds_nothing(service, tmp_path: Path) -> None:
    """Rules between fields (a label of another generator, seeds beside latents) are in no schema: 400 is right."""
    command = [Path(PYTHON).parent / "schemathesis", "run", f"{service.url}/docs.json"]
    limits = ["--max-examples", "10", "--phases", "coverage,fuzzing", "--seed", "1", "--generation-database", "none"]
    checks = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
    done = subprocess.run(
        [*command, *limits, *checks], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Tested: 13" in done.stdout
    assert "Traceback" not in service.log.read_text()


def test_bentomls_own_client_works_unchanged(service) -> None:
    asked = {"n": 4, "label": 7, "seed": 3, "model": "digits"}
    done = subprocess.run(
        [sys.executable, "-c", CALL, service.url, json.dumps(asked)], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    direct = httpx.post(f"{service.url}/generate", json=asked).json()
    assert answer == direct
    assert Image.open(io.BytesIO(base64.b64decode(answer["images"][0]["png"]))).size == (28, 28)
