"""Triton's own HTTP client, unchanged, against a real service."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

from gan_export.artifact import draw, load_artifact, open_session, run_session

pytestmark = pytest.mark.slow

MAX_N = 300
MAX_BODY = 2**20  # bytes

Direct = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def service(serve, models: Path) -> Iterator:
    with serve(models=models, max_n=MAX_N, max_body=MAX_BODY) as running:
        yield running


@pytest.fixture
def client(service) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(service.url.removeprefix("http://")) as connected:
        yield connected


@pytest.fixture(scope="module")
def direct(models: Path) -> Direct:
    """Images of a session of our own, without any service: uint8 (N, C, H, W)."""
    sessions = {name: open_session(load_artifact(models / name)) for name in ("digits", "colours")}

    def run(model: str, z: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
        return run_session(sessions[model], z, label)

    return run


def given(name: str, array: np.ndarray, *, binary: bool = True, datatype: str | None = None) -> triton.InferInput:
    datatype = datatype or {"float32": "FP32", "int64": "INT64", "uint64": "UINT64"}[str(array.dtype)]
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def latents(n: int, dim: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def error_of(call: Callable[[], object]) -> InferenceServerException:
    with pytest.raises(InferenceServerException) as caught:
        call()
    # str() is what people print; with an error that is no string it fails itself.
    assert str(caught.value) == f"[{caught.value.status()}] {caught.value.message()}"
    assert "\n" not in caught.value.message()
    return caught.value


def test_the_server_and_its_models_say_what_they_are(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert not client.is_model_ready("nobody")
    server = client.get_server_metadata()
    assert server["name"] == "ganworks"
    assert "binary_tensor_data" in server["extensions"]

    digits, colours = client.get_model_metadata("digits"), client.get_model_metadata("colours")
    assert digits["inputs"] == [
        {"name": "z", "datatype": "FP32", "shape": [-1, 64]},
        {"name": "label", "datatype": "INT64", "shape": [-1]},
    ]
    assert digits["outputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
    assert [tensor["name"] for tensor in colours["inputs"]] == ["z"]
    assert colours["outputs"][0]["shape"] == [-1, 3, 32, 32]
    (version,) = digits["versions"]
    assert client.get_model_metadata("digits", version) == digits
    assert client.is_model_ready("digits", version)
    assert not client.is_model_ready("digits", "none")

    config = client.get_model_config("digits", version)
    assert config["max_batch_size"] == 0
    assert config["input"][0] == {"name": "z", "data_type": "TYPE_FP32", "dims": [-1, 64]}
    assert config["output"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [-1, 1, 28, 28]}]
    assert json.loads(config["parameters"]["class_names"]["string_value"]) == [str(i) for i in range(10)]
    assert config["parameters"]["max_n"]["string_value"] == str(MAX_N)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("outputs", [None, True, False])
def test_images_are_those_of_a_direct_session(
    client: triton.InferenceServerClient, direct: Direct, binary_in: bool, outputs: bool | None
) -> None:
    z, label = latents(5), np.array([0, 9, 3, 3, 7])
    asked = None if outputs is None else [triton.InferRequestedOutput("image", binary_data=outputs)]
    result = client.infer(
        "digits",
        [given("z", z, binary=binary_in), given("label", label, binary=binary_in)],
        outputs=asked,
        request_id="mine",
    )
    image = result.as_numpy("image")
    assert image.dtype == np.uint8
    assert np.array_equal(image, direct("digits", z, label))
    assert result.get_response()["id"] == "mine"
    assert result.get_response()["model_name"] == "digits"
    assert ("data" in result.get_output("image")) == (outputs is False)
    assert result.as_numpy("pixels") is None


def test_an_unconditional_generator_and_a_named_version(client: triton.InferenceServerClient, direct: Direct) -> None:
    (version,) = client.get_model_metadata("colours")["versions"]
    dim = client.get_model_metadata("colours")["inputs"][0]["shape"][1]
    z = latents(2, dim)
    result = client.infer("colours", [given("z", z)], model_version=version)
    assert np.array_equal(result.as_numpy("image"), direct("colours", z))
    assert result.get_response()["model_version"] == version


def test_more_images_than_a_batch_come_whole_and_in_order(client: triton.InferenceServerClient, direct: Direct) -> None:
    z, label = latents(MAX_N), np.arange(MAX_N) % 10
    expected = direct("digits", z, label)
    for binary in (True, False):
        outputs = [triton.InferRequestedOutput("image", binary_data=binary)]
        result = client.infer("digits", [given("z", z), given("label", label)], outputs=outputs)
        assert np.array_equal(result.as_numpy("image"), expected)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_seeds_give_the_images_of_generate(service, client: triton.InferenceServerClient, dtype: type) -> None:
    seeds = [0, 5, 2**53 - 1]
    with_own = client.infer("digits", [given("seed", np.array(seeds, dtype))]).as_numpy("image")
    chosen = client.infer("digits", [given("seed", np.array(seeds, dtype)), given("label", np.array([7, 7, 7]))])
    for images, more in ((with_own, {}), (chosen.as_numpy("image"), {"label": 7})):
        body = {"model": "digits", "seeds": seeds, "format": "npy"} | more
        generated = np.load(io.BytesIO(httpx.post(f"{service.url}/generate", json=body).content))  # (N, H, W, C)
        assert np.array_equal(images, generated.transpose(0, 3, 1, 2))


def test_latents_give_the_images_of_generate_however_they_came(service, client: triton.InferenceServerClient) -> None:
    z = draw([11, 12], 64, "normal").latents
    body = {"model": "digits", "latents": z.tolist(), "label": 4, "format": "npy"}
    generated = np.load(io.BytesIO(httpx.post(f"{service.url}/generate", json=body).content))
    for binary in (True, False):
        label = given("label", np.array([4, 4]), binary=binary)
        image = client.infer("digits", [given("z", z, binary=binary), label]).as_numpy("image")
        assert np.array_equal(image, generated.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client: triton.InferenceServerClient, direct: Direct, algorithm: str) -> None:
    z, label = latents(3), np.array([1, 2, 3])
    result = client.infer(
        "digits",
        [given("z", z), given("label", label)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert np.array_equal(result.as_numpy("image"), direct("digits", z, label))
    bomb = triton.InferInput("z", [1, 64], "FP32")
    bomb._raw_data = bytes(2 * MAX_BODY)
    error = error_of(lambda: client.infer("digits", [bomb], request_compression_algorithm=algorithm))
    assert error.status() == "413"
    assert str(MAX_BODY) in error.message()


def test_many_at_once_each_get_their_own(service, direct: Direct) -> None:
    with triton.InferenceServerClient(service.url.removeprefix("http://"), concurrency=16) as client:
        asked = []
        for i in range(40):
            z, label = latents(1 + i % 7, seed=i), np.full(1 + i % 7, i % 10)
            asked.append((z, label, client.async_infer("digits", [given("z", z), given("label", label)])))
        for z, label, answer in asked:
            assert np.array_equal(answer.get_result().as_numpy("image"), direct("digits", z, label))


def test_the_asyncio_client_works_too(service, direct: Direct) -> None:
    z, label = latents(4), np.array([1, 2, 3, 4])

    async def run() -> tuple[bool, np.ndarray, InferenceServerException]:
        async with aio.InferenceServerClient(service.url.removeprefix("http://")) as client:
            ready = await client.is_model_ready("digits")
            result = await client.infer("digits", [given("z", z), given("label", label)])
            with pytest.raises(InferenceServerException) as caught:
                await client.infer("digits", [given("z", z)])
            return ready, result.as_numpy("image"), caught.value

    ready, image, error = asyncio.run(run())
    assert ready
    assert np.array_equal(image, direct("digits", z, label))
    assert "label is missing" in str(error)


def test_the_clients_exception_says_what_is_wrong(client: triton.InferenceServerClient) -> None:
    z, label = latents(2), np.array([1, 2])
    nan = z.copy()
    nan[1, 1] = np.nan
    inputs = [given("z", z), given("label", label)]
    text = triton.InferInput("z", [1], "BYTES").set_data_from_numpy(np.array([b"noise"], np.object_))
    shared = triton.InferInput("z", [2, 64], "FP32").set_shared_memory("region", 512)
    shared_output = triton.InferRequestedOutput("image")
    shared_output.set_shared_memory("region", 1568)
    for call, status, words in (
        (lambda: client.infer("digits", [given("z", z), given("label", np.array([1, 10]))]), 400, ["10", "0 to 9"]),
        (lambda: client.infer("digits", [given("z", z), given("label", np.array([-1, 1]))]), 400, ["-1", "0 to 9"]),
        (lambda: client.infer("digits", [given("z", nan), given("label", label)]), 400, ["nan", "finite"]),
        (lambda: client.infer("digits", [given("z", z[:, :63]), given("label", label)]), 400, ["63", "[N, 64]"]),
        (lambda: client.infer("digits", [given("z", latents(MAX_N + 1))]), 400, [str(MAX_N + 1), f"1 to {MAX_N}"]),
        (lambda: client.infer("digits", [given("seed", np.array([2**53]))]), 400, ["9007199254740992", "2**53"]),
        (lambda: client.infer("colours", [given("z", z), given("label", label)]), 400, ["'label'", "not an input"]),
        (lambda: client.infer("digits", [text]), 400, ["BYTES", "FP32"]),
        (lambda: client.infer("digits", [shared, given("label", label)]), 400, ["shared memory"]),
        (lambda: client.infer("digits", inputs, outputs=[shared_output]), 400, ["shared memory"]),
        (
            lambda: client.infer("digits", inputs, outputs=[triton.InferRequestedOutput("image", class_count=3)]),
            400,
            ["classification"],
        ),
        (
            lambda: client.infer("digits", inputs, outputs=[triton.InferRequestedOutput("pixels")]),
            400,
            ["pixels", "uint8"],
        ),
        (lambda: client.infer("digits", inputs, sequence_id=3), 400, ["sequence"]),
        (lambda: client.infer("nobody", inputs), 404, ["'nobody'", "digits"]),
        (lambda: client.infer("digits", inputs, model_version="7"), 404, ["'7'"]),
        (lambda: client.get_model_config("nobody"), 404, ["'nobody'"]),
        (lambda: client.infer("digits", [given("z", latents(5000))]), 413, [str(MAX_BODY)]),
        (lambda: client.get_trace_settings(), 404, ["/v2/trace/setting"]),
        (lambda: client.load_model("digits", config="{}"), 400, ["'config'"]),
        (lambda: client.load_model("../../etc"), 404, []),
    ):
        error = error_of(call)
        assert error.status() == str(status), error
        for word in words:
            assert word in error.message()


def test_an_error_over_http_has_the_protocols_shape_and_all_of_ours(service) -> None:
    response = httpx.post(
        f"{service.url}/v2/models/digits/infer",
        content=b'{"inputs": []}',
        headers={"Inference-Header-Content-Length": "9999", "x-request-id": "test-7"},
    )
    assert response.status_code == 400
    body = response.json()
    assert body | {"error": ""} == {
        "error": "",
        "code": "invalid_request",
        "param": "Inference-Header-Content-Length",
        "request_id": "test-7",
    }
    assert "'9999'" in body["error"]
    assert response.headers["x-request-id"] == "test-7"


def test_counts_grow_by_images(client: triton.InferenceServerClient) -> None:
    (before,) = client.get_inference_statistics("colours")["model_stats"]
    client.infer("colours", [given("seed", np.arange(7))])
    (after,) = client.get_inference_statistics("colours")["model_stats"]
    assert after["inference_count"] == before["inference_count"] + 7
    assert after["execution_count"] == before["execution_count"] + 1
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    every = client.get_inference_statistics()["model_stats"]
    assert [each["name"] for each in every] == ["colours", "digits"]
    assert every[0] == after


def test_models_are_unloaded_and_loaded_again(serve, models: Path, direct: Direct) -> None:
    z, label = latents(2), np.array([1, 2])
    with (
        serve(models=models) as service,
        triton.InferenceServerClient(service.url.removeprefix("http://")) as client,
    ):
        (version,) = client.get_model_metadata("digits")["versions"]
        states = {entry["name"]: entry for entry in client.get_model_repository_index()}
        assert {name: entry["state"] for name, entry in states.items()} == {"colours": "READY", "digits": "READY"}
        assert states["digits"]["version"] == version

        client.unload_model("digits")
        assert not client.is_model_ready("digits")
        assert client.is_model_ready("colours")
        states = {entry["name"]: entry for entry in client.get_model_repository_index()}
        assert states["digits"]["state"] == "UNAVAILABLE"
        assert states["digits"]["reason"]
        response = httpx.post(f"{service.url}/v2/repository/index", json={"ready": True})
        assert [entry["name"] for entry in response.json()] == ["colours"]
        error = error_of(lambda: client.infer("digits", [given("z", z), given("label", label)]))
        assert "digits" in error.message()

        client.load_model("digits")
        assert client.is_model_ready("digits")
        image = client.infer("digits", [given("z", z), given("label", label)]).as_numpy("image")
        assert np.array_equal(image, direct("digits", z, label))
        for call in (client.load_model, client.unload_model):
            assert "nobody" in error_of(lambda call=call: call("nobody")).message()
