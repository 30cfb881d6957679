"""Two thousand requests that make no sense: each gets one clear refusal, and the service goes on."""

import http.client
import json
import random
import string
from collections import Counter
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from asking import PATIENCE, connect, look, post, read_images, request_bytes
from trap_artifact import DIM, Direct

pytestmark = pytest.mark.slow

REQUESTS = 2000
VALID = {"n": 2, "seed": 5, "label": 1, "format": "npy"}
JUNK: list[object] = [
    *(None, True, False, -1, 0, 1.5, 10**400, -(2**63), 2**53, "", "x" * 5000, "\ud800", "\0", "../../etc/passwd"),
    *([], {}, [[]], [None], [[1, "a"]], {"a": {"b": []}}, [1] * 5000, [[0.0] * 7], [[1e300] * DIM], float("inf")),
]
FIELDS = ["model", "n", "seed", "seeds", "label", "latents", "truncation", "format", "columns", "quality", "extra"]
PATHS = [
    *("//generate", "/GENERATE", "/generate/../models", "/models/%2e%2e/%2e%2e/etc/passwd", "/%00"),
    *("/models/" + "a" * 5000, "/v2/models/nobody/infer", "/v2/models/small/versions/9/infer", "/v3", "/%ff%fe"),
    *("/models/small/../../x", "/v2/repository/models/..%2f..%2f/load", "/static_content/../../../etc/passwd"),
]
METHODS = ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "SEARCH"]
TYPES = ["text/plain", "application/x-npy", "multipart/form-data; boundary=x", "application/octet-stream", "", "\xff"]
INFER = "/v2/models/small/infer"


def infer_body(rng: random.Random) -> tuple[bytes, str]:
    """JSON with binary tensors behind it, of which some length lies; and the length header."""
    z = np.zeros((2, DIM), np.float32).tobytes()
    label = np.zeros(2, np.int64).tobytes()
    sizes = [len(z), len(label)]
    shapes: list[object] = [[2, DIM], [2]]
    lie = rng.randrange(5)
    wrong = rng.choice([-1, 0, 1, 2**31, 2**63, 10**30, -(2**63), "16", 1.5, None])
    if lie == 0:
        sizes[rng.randrange(2)] = wrong  # type: ignore[call-overload]
    elif lie == 1:
        shapes[rng.randrange(2)] = rng.choice([[2**62, 2**62], [-1, DIM], [0], [2, DIM, 1], "2", [2.5], [3, DIM], []])
    inputs = [
        {"name": name, "datatype": kind, "shape": shape, "parameters": {"binary_data_size": size}}
        for name, kind, shape, size in zip(("z", "label"), ("FP32", "INT64"), shapes, sizes, strict=True)
    ]
    head = json.dumps({"inputs": inputs}).encode()
    length = str(len(head))
    if lie == 2:
        length = rng.choice(["0", "-5", str(len(head) - 1), str(len(head) + 7), str(10**20), "abc", "", "1e3", "\xb2"])
    tail = z + label
    if lie == 3:
        tail = tail[: rng.randrange(len(tail))]
    elif lie == 4:
        tail += bytes(rng.randrange(1, 100))
    return head + tail, length


def requests(rng: random.Random) -> Iterator[tuple[str, str, bytes]]:
    """What it is about, its method, and its bytes; all are refused but those of the kind `mutated`, which may be."""
    while True:
        field, junk = rng.choice(FIELDS), rng.choice(JUNK)
        yield "mutated", "POST", request_bytes(json.dumps(VALID | {field: junk}).encode("utf-8", "surrogatepass"))
        valid = json.dumps(VALID).encode()
        yield "cut", "POST", request_bytes(valid[: rng.randrange(1, len(valid))])
        noise = bytearray(valid)
        for _ in range(rng.randrange(1, 6)):
            noise[rng.randrange(len(noise))] = rng.randrange(256)
        yield "mutated", "POST", request_bytes(bytes(noise))
        yield "noise", "POST", request_bytes(b"\x93NUMPY\x01\x00" + rng.randbytes(rng.randrange(300)))
        deep = rng.choice([b"[", b'{"n":']) * rng.randrange(1, 20000)
        yield "deep", "POST", request_bytes(deep, content_type=rng.choice(TYPES))
        path = rng.choice(PATHS) if rng.random() < 0.5 else "/" + "".join(rng.choices(string.ascii_letters, k=12))
        yield "path", "POST", request_bytes(valid, path=path)
        method = rng.choice(METHODS)
        yield "method", method, request_bytes(b"", path="/interpolate", method=method)
        body, length = infer_body(rng)
        yield "v2", "POST", request_bytes(body, path=INFER, inference_header_content_length=length)
        yield "v2", "POST", request_bytes(b"[" * rng.randrange(1, 9000), path=INFER)
        yield (
            "v2",
            "POST",
            request_bytes(rng.randbytes(50), path=INFER, content_encoding=rng.choice(["gzip", "br", "x"])),
        )
        kind = rng.choice(["bmp", "npy,", "\0", "image/png"])
        yield "format", "POST", request_bytes(VALID | {"format": kind})


def answer_to(service, method: str, request: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    with connect(service) as client:
        client.sendall(request)
        response = http.client.HTTPResponse(client, method=method)
        response.begin()
        return response, response.read()


def check_refusal(response: http.client.HTTPResponse, content: bytes, *, v2: bool) -> None:
    body = json.loads(content)
    if v2:
        assert set(body) <= {"error", "code", "param", "request_id"}
        message = body["error"]
    else:
        assert set(body) == {"error", "request_id"}
        assert set(body["error"]) == {"code", "message", "param"}
        message = body["error"]["message"]
        assert body["request_id"] == response.headers["x-request-id"]
    assert isinstance(message, str)
    assert message
    assert "\n" not in message
    assert len(message) < 1000


def test_two_thousand_malformed_requests(trapped, trap_models) -> None:
    rng = random.Random(11)
    before, told_before = look(trapped), len(trapped.log.read_text())
    statuses: Counter[tuple[str, int]] = Counter()
    for (kind, method, request), _ in zip(requests(rng), range(REQUESTS), strict=False):
        response, content = answer_to(trapped, method, request)
        statuses[kind, response.status] += 1
        told = f"{kind} {request[:300]!r} -> {response.status} {content[:300]!r}"
        if kind == "mutated" and response.status == 200:
            continue
        assert 400 <= response.status < 500, told
        try:
            check_refusal(response, content, v2=request.split(b" ", 2)[1].startswith(b"/v2/"))
        except (AssertionError, ValueError) as error:
            raise AssertionError(told) from error
    assert {status for kind, status in statuses if kind == "mutated"} >= {200, 400}, "mutations hit nothing"

    answer = post(trapped, VALID)
    assert np.array_equal(
        read_images("npy", answer.content).images, Direct(trap_models / "small").by_seed([5, 6], 1)[0]
    )
    after = look(trapped)
    assert after.images("failed") == before.images("failed")
    assert after.waiting == 0
    endpoints = after.values("endpoint") - before.values("endpoint")  # other tests ask for other paths of the service
    assert endpoints <= {"all", "other", "/"} | known(trapped), "a path that somebody asked for became a series"
    assert "Traceback" not in trapped.log.read_text()[told_before:]


def known(service) -> set[str]:
    """Route templates, as the metrics may name them."""
    described = httpx.get(f"{service.url}/docs.json", timeout=PATIENCE).json()
    fixed = {"/metrics", "/readyz", "/livez", "/healthz", "/schema.json", "/docs.json"}
    return fixed | set(described["paths"]) | {"/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"}
