"""What the protocol tells of the server and of each model: readiness, metadata, configuration."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from gan_export.artifact import IMAGE_OUTPUT, Manifest
from gan_serving.errors import UnknownModelError
from gan_serving.messages import show
from gan_serving.models.generator import Generator
from gan_serving.models.registry import VERSION
from gan_serving.worker.state import worker_of

from .answer import json_response
from .request import SEED_INPUT, input_rules

EXTENSIONS: Final = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
PLATFORM: Final = "onnxruntime_onnx"


async def server_metadata(request: Request) -> Response:  # noqa: ARG001
    """GET /v2."""
    return json_response({"name": "ganworks", "version": version("ganworks"), "extensions": EXTENSIONS})


async def live(request: Request) -> Response:  # noqa: ARG001
    """GET /v2/health/live."""
    return json_response({"live": True})


async def ready(request: Request) -> Response:
    """GET /v2/health/ready: whether there is a generator to ask, and the service is not on its way out."""
    worker_of(request).check_ready()
    return json_response({"ready": True})


async def model_ready(request: Request) -> Response:
    """GET .../ready."""
    return json_response({"name": generator_of(request).manifest.name, "ready": True})


async def model_metadata(request: Request) -> Response:
    """GET /v2/models/{name}[/versions/{version}]."""
    generator = generator_of(request)
    manifest = generator.manifest
    return json_response(
        {
            "name": manifest.name,
            "versions": [VERSION],
            "platform": PLATFORM,
            "inputs": _inputs(manifest),
            "outputs": [{"name": IMAGE_OUTPUT, "datatype": "UINT8", "shape": _image_shape(manifest)}],
        }
    )


async def model_config(request: Request) -> Response:
    """GET .../config: the same as Triton's ModelConfig.

    `max_batch_size` is 0, which there means that the shapes are whole: the first dimension, -1, is N.
    """
    generator = generator_of(request)
    manifest = generator.manifest
    tensors = [(each["name"], each["datatype"], each["shape"]) for each in _inputs(manifest)]
    parameters = {
        "max_n": str(worker_of(request).settings.max_n),
        "latent_distribution": manifest.latent.distribution,
        SEED_INPUT: "INT64 or UINT64 [-1], 0 <= seed < 2**53, instead of z; without label, it chooses that too",
    }
    if manifest.class_names is not None:
        parameters["class_names"] = json.dumps(manifest.class_names)
    return json_response(
        {
            "name": manifest.name,
            "platform": PLATFORM,
            "backend": "onnxruntime",
            "max_batch_size": 0,
            "input": [_config_tensor(*tensor) for tensor in tensors],
            "output": [_config_tensor(IMAGE_OUTPUT, "UINT8", _image_shape(manifest))],
            "parameters": {key: {"string_value": value} for key, value in parameters.items()},
        }
    )


def generator_of(request: Request) -> Generator:
    """The generator that the path names.

    Raises:
        UnknownModelError: there is none of that name, or it has another version.
        NotReadyError: none is loaded.
    """
    generator = worker_of(request).catalog.get(request.path_params["name"])
    asked = request.path_params.get("version", VERSION)
    if asked != VERSION:
        raise UnknownModelError(
            f"{generator.manifest.name} has no version {show(asked)}; its version is {VERSION}", "version"
        )
    return generator


def _inputs(manifest: Manifest) -> list[dict[str, Any]]:
    """The graph's own inputs: a generic client fills in all that it is told of, and z and seed exclude each other."""
    rules = [rule for rule in input_rules(manifest) if rule.name != SEED_INPUT]
    return [{"name": rule.name, "datatype": rule.datatypes[0], "shape": [-1, *rule.row]} for rule in rules]


def _image_shape(manifest: Manifest) -> list[int]:
    return [-1, manifest.image.channels, manifest.image.height, manifest.image.width]


def _config_tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "data_type": f"TYPE_{datatype}", "dims": shape}
