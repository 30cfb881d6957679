"""Stock BentoML: a batchable API. Its batches can't answer with bytes, so PNG files travel as base64."""

import base64

import bentoml
from pydantic import BaseModel

from .model import Model, png


class Ask(BaseModel):
    """One image."""

    seed: int
    label: int = 0


@bentoml.service(name="stock", workers=1, traffic={"timeout": 60})
class Stock:
    """Images from seeds."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)  # type: ignore[untyped-decorator]  # it has no types
    def generate(self, asks: list[Ask]) -> list[str]:
        """A PNG file for each."""
        images = self.model.images([ask.seed for ask in asks], [ask.label for ask in asks])
        return [base64.b64encode(png(image)).decode() for image in images]
