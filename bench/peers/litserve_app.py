"""LitServe with its own batching."""

import sys

import litserve
from fastapi import Response

from .model import Model, png


class Api(litserve.LitAPI):  # type: ignore[misc]  # it has no types
    """Images from seeds."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - what LitServe calls
        self.model = Model()

    def decode_request(self, request: dict[str, int]) -> tuple[int, int]:
        return request["seed"], request.get("label", 0)

    def batch(self, inputs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return inputs

    def predict(self, inputs: list[tuple[int, int]]) -> list[bytes]:
        seeds, labels = zip(*inputs, strict=True)
        return [png(image) for image in self.model.images(list(seeds), list(labels))]

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=0.002, api_path="/generate")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
