"""The service as its users meet it: real processes, real HTTP."""

import base64
import concurrent.futures
import io
import json
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from gan_export.artifact import draw, load_artifact, open_session, run_session

pytestmark = pytest.mark.slow

RunFn = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def http(service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def generate(http: httpx.Client, **body: object) -> httpx.Response:
    response = http.post("/generate", json={"model": "digits"} | body)
    assert response.status_code == 200, response.text
    return response


def arrays(response: httpx.Response) -> np.ndarray:
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def test_json_is_the_default_and_says_what_each_image_is(http: httpx.Client) -> None:
    response = generate(http, n=3, seed=11)
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body["model"] == "digits"
    assert [image["seed"] for image in body["images"]] == [11, 12, 13]
    expected = draw([11, 12, 13], 64, "normal", classes=10).labels
    assert [image["label"] for image in body["images"]] == expected.tolist()
    assert [image["label_name"] for image in body["images"]] == [str(label) for label in expected]
    for image in body["images"]:
        assert Image.open(io.BytesIO(base64.b64decode(image["png"]))).size == (28, 28)


def test_all_formats_hold_the_pixels_of_a_direct_session(http: httpx.Client, models: Path) -> None:
    artifact = load_artifact(models / "digits")
    drawn = draw(range(5, 9), 64, "normal", classes=10)
    labels = np.full(4, 7, np.int64)
    direct = run_session(open_session(artifact), drawn.latents, labels)[:, 0]  # (4, 28, 28)
    ask = {"n": 4, "seed": 5, "label": 7}

    npy = arrays(generate(http, **ask, format="npy"))
    assert npy.shape == (4, 28, 28, 1)
    assert np.array_equal(npy[..., 0], direct)

    with zipfile.ZipFile(io.BytesIO(generate(http, **ask, format="zip").content)) as archive:
        index = json.loads(archive.read("images.json"))
        for i, image in enumerate(index["images"]):
            assert np.array_equal(np.asarray(Image.open(archive.open(image["file"]))), direct[i])
            assert (image["seed"], image["label"]) == (5 + i, 7)

    sheet = np.asarray(Image.open(io.BytesIO(generate(http, **ask, format="png", columns=2).content)))
    assert sheet.shape == (62, 62)
    assert np.array_equal(sheet[2:30, 2:30], direct[0])
    assert np.array_equal(sheet[32:60, 32:60], direct[3])

    single = np.asarray(Image.open(io.BytesIO(generate(http, seed=5, label=7, format="png").content)))
    assert np.array_equal(single, direct[0])


def test_the_accept_header_chooses_when_format_does_not(http: httpx.Client) -> None:
    for accept, expected in (
        ("image/png", "image/png"),
        ("application/zip;q=0.9, */*", "application/json"),
        ("application/zip, */*;q=0.9", "application/zip"),
        ("image/webp;q=0.5, image/*", "image/png"),
        ("*/*", "application/json"),
    ):
        response = http.post("/generate", json={"model": "digits"}, headers={"accept": accept})
        assert response.headers["content-type"] == expected


def test_rgb_and_unconditional(http: httpx.Client) -> None:
    response = generate(http, model="colours", n=2, seed=1, format="npy")
    assert arrays(response).shape == (2, 32, 32, 3)
    assert generate(http, model="colours", seed=1).json()["images"][0]["label"] is None


def test_same_seed_same_bytes_alone_in_a_batch_and_in_company(http: httpx.Client, service) -> None:
    with zipfile.ZipFile(io.BytesIO(generate(http, n=64, seed=100, label=3, format="zip").content)) as archive:
        together = {f"{i:02d}.png": archive.read(f"{i:02d}.png") for i in range(64)}

    def alone(i: int) -> bytes:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            return generate(client, seed=100 + i, label=3, format="png").content

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for i, content in enumerate(pool.map(alone, range(64))):
            assert content == together[f"{i:02d}.png"], f"image {i} differs alone"


def test_same_seed_same_bytes_after_a_restart_and_from_two_workers(http: httpx.Client, serve, models: Path) -> None:
    first = generate(http, n=8, seed=42, format="zip").content
    with serve(models=models, workers=2, max_bodys=9) as other:
        for _ in range(40):
            # A connection each: the kernel hands connections, not requests, to the workers.
            with httpx.Client(base_url=other.url, timeout=60) as client:
                assert generate(client, n=8, seed=42, format="zip").content == first
        text = other.log.read_text()
        assert "ganworks:1]" in text
        assert "ganworks:2]" in text
        told = "bentoml serve: GAN_MAX_BODYS is not a setting and does nothing; did you mean GAN_MAX_BODY?\n"
        assert text.count(told) == 1


def test_latents_are_used_as_they_are(http: httpx.Client) -> None:
    drawn = draw([9], 64, "normal", classes=10)
    by_seed = arrays(generate(http, seed=9, label=1, format="npy"))
    by_latent = arrays(generate(http, latents=drawn.latents.tolist(), label=1, format="npy"))
    assert np.array_equal(by_seed, by_latent)


def test_a_request_without_a_name_means_the_newest_artifact_or_the_one_set(http, serve, models: Path) -> None:
    assert http.post("/generate", json={}).json()["model"] == "colours"
    assert {model["name"]: model["default"] for model in http.get("/models").json()["models"]} == {
        "colours": True,
        "digits": False,
    }
    with serve(models=models, default_model="digits") as service:
        assert httpx.post(f"{service.url}/generate", json={}).json()["model"] == "digits"


def test_models_are_listed_and_described(http: httpx.Client, models: Path) -> None:
    listed = http.get("/models").json()["models"]
    assert [model["name"] for model in listed] == ["colours", "digits"]
    assert listed[1]["class_names"] == [str(i) for i in range(10)]
    assert listed[0]["class_names"] is None
    manifest, certificate = (
        json.loads((models / "digits" / name).read_text()) for name in ("manifest.json", "certificate.json")
    )
    shown = http.get("/models/digits").json()
    assert shown | manifest | {"certificate": certificate} == shown
    assert (shown["state"], shown["reason"]) == ("ready", None)
    assert shown["engine"]["sha256"] == manifest["variants"][0]["sha256"]
    assert http.get("/models/digits/preview.png").content == (models / "digits" / "preview.png").read_bytes()
    picture = http.get("/models/digits/pictures/preview.png")
    assert picture.content == (models / "digits" / "preview.png").read_bytes()
    again = http.get("/models/digits/pictures/preview.png", headers={"If-None-Match": picture.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for file in ("manifest.json", "golden.npz", "..%2Fdigits%2Fpreview.png", "nobody.png"):  # not of the card
        assert http.get(f"/models/digits/pictures/{file}").status_code == 404
    assert http.get("/models/digits/card").text == (models / "digits" / "README.md").read_text(encoding="utf-8")
    summary = listed[1]["certificate"]
    (result,) = certificate["results"]
    assert summary["max_abs_error"] == result["against_float32"]["max_abs"] < 1e-4
    assert summary["gates"] == [gate["code"] for gate in result["gates"]]
    assert (summary["allowed"], summary["images"]) == ([], result["compared"])


BAD_REQUESTS = [
    ({"n": 0}, 400, "n", ["0", "from 1 to 4096"]),
    ({"n": 4097}, 400, "n", ["4097", "at most 4096 images"]),
    ({"seed": -1}, 400, "seed", ["-1", "0 <= seed < 2**53"]),
    ({"seed": 2**53}, 400, "seed", ["9007199254740992", "2**53"]),
    ({"label": 10}, 400, "label", ["10", "from 0 to 9"]),
    ({"label": "seven"}, 400, "label", ["'seven'", "0, 1, 2"]),
    ({"model": "colours", "label": 1}, 400, "label", ["1", "unconditional"]),
    ({"latents": [[0.0, 1.0]]}, 400, "latents", ["2 numbers", "64"]),
    ({"latents": [[1e39] * 64], "label": 1}, 400, "latents", ["1e+39", "finite"]),
    ({"model": "nobody"}, 404, "model", ["'nobody'", "colours, digits"]),
    ({"format": "bmp"}, 400, "format", ["'bmp'", "json, png, webp, jpeg, npy, zip, ndjson"]),
    ({"lable": 7}, 400, "lable", ["'lable'", "label"]),
]


@pytest.mark.parametrize(("body", "status", "param", "words"), BAD_REQUESTS)
def test_bad_requests_get_one_clear_line(
    http: httpx.Client, body: dict[str, object], status: int, param: str, words: list[str]
) -> None:
    response = http.post("/generate", json={"model": "digits"} | body, headers={"x-request-id": "test-7"})
    assert response.status_code == status
    assert set(response.json()) == {"error", "request_id"}
    assert response.json()["request_id"] == response.headers["x-request-id"] == "test-7"
    error = response.json()["error"]
    assert set(error) == {"code", "message", "param"}
    assert error["param"] == param
    assert "\n" not in error["message"]
    for word in words:
        assert word in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("POST", "/generate", b"{bad", 400, "invalid_request"),
        ("POST", "/generate", b"[]", 400, "invalid_request"),
        ("POST", "/generate", b'{"latents": [[NaN]]}', 400, "invalid_request"),
        ("POST", "/generate", b"\xff\xfe", 400, "invalid_request"),
        ("GET", "/interpolate", b"", 405, "method_not_allowed"),
        ("GET", "/nowhere", b"", 404, "not_found"),
        ("GET", "/models/nobody", b"", 404, "unknown_model"),
        ("GET", "/models/..%2f..%2fetc%2fpasswd", b"", 404, "not_found"),
        ("POST", "/generate", b" " * (17 * 2**20), 413, "body_too_large"),
    ],
)
def test_every_error_has_the_one_shape(
    http: httpx.Client, method: str, path: str, content: bytes, status: int, code: str
) -> None:
    response = http.request(method, path, content=content)
    assert response.status_code == status, response.text
    assert response.json()["error"]["code"] == code
    assert response.json()["request_id"] == response.headers["x-request-id"]


def test_no_error_left_a_traceback_in_the_log(http: httpx.Client, service) -> None:
    http.post("/generate", content=b"{bad")
    assert "Traceback" not in service.log.read_text()


def test_torch_is_not_in_any_process_of_the_service(http: httpx.Client, service) -> None:
    generate(http)
    libraries = {pid: Path(f"/proc/{pid}/maps").read_text() for pid in service.pids()}
    assert any("onnxruntime" in text for text in libraries.values()), "looked at the wrong processes"
    for pid, text in libraries.items():
        assert "libtorch" not in text, f"torch is loaded in process {pid}"


def test_curl_line_of_the_readme(service) -> None:
    body = '{"model":"digits","n":4,"label":7,"format":"png"}'
    done = subprocess.run(
        ["curl", "-sS", "-X", "POST", f"{service.url}/generate", "-H", "content-type: application/json", "-d", body],
        capture_output=True,
        check=True,
    )
    assert Image.open(io.BytesIO(done.stdout)).size == (62, 62)


def test_client_command_draws_a_sheet(service, tmp_path: Path, run_command: RunFn) -> None:
    ask = ("sample", "--n", 64, "--label", 7, "--seed", 5, "--model", "digits", "--url", service.url)
    done = run_command("gan-client", *ask, "--out", "first", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    files = sorted((tmp_path / "first").glob("*seed*.png"))
    assert len(files) == 64
    with Image.open(tmp_path / "first" / "sheet.png") as sheet:
        assert sheet.size == (242, 242)
    again = run_command("gan-client", *ask, "--out", "second", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    for file in files:
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()


def test_client_command_tells_the_services_errors_in_one_line(service, tmp_path: Path, run_command: RunFn) -> None:
    done = run_command(
        "gan-client", "sample", "--label", "seven", "--model", "digits", "--url", service.url, cwd=tmp_path
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "'seven'" in done.stderr
    assert not (tmp_path / "samples").exists()
