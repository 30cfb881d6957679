"""A bare Starlette application on uvicorn: our engine as the service opens it, our batcher, our encoder."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gan_export.artifact import draw
from gan_export.artifact.processor import usable_cores
from gan_serving.batching.batcher import Batcher
from gan_serving.formats.png import png_file
from gan_serving.models.engine import open_engine

from .model import ARTIFACT, MANIFEST

engine = open_engine(ARTIFACT, cores=usable_cores())
batcher = Batcher(engine.run, 64, 100_000, ThreadPoolExecutor(engine.lanes), lanes=engine.lanes)


async def generate(request: Request) -> Response:
    """One image as PNG."""
    asked = json.loads(await request.body())
    seeds = [asked["seed"]]
    latents = draw(seeds, MANIFEST.latent.dim, MANIFEST.latent.distribution, classes=MANIFEST.classes).latents
    labels = np.full(1, asked.get("label", 0), np.int64) if MANIFEST.classes else None
    images = await batcher.submit(latents, labels)
    return Response(png_file(images[0]), media_type="image/png")


app = Starlette(routes=[Route("/generate", generate, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
