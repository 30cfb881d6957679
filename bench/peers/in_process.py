"""The limit: the session and the encoder in a loop, without any server. Prints images/s.

python -m peers.in_process FORMAT SECONDS
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import cast

from gan_client.types import Format
from gan_serving.formats.batch import Batch
from gan_serving.formats.encode import encode

from .model import MANIFEST, Model

BATCH = 64


def loop(model: Model, wanted: Format, seconds: float, first: int) -> float:
    """Images per second of one thread."""
    began = time.perf_counter()
    for done in count(1):
        seeds = list(range(first, first + BATCH))
        images = model.images(seeds, [7] * BATCH)
        encode(Batch(MANIFEST.name, images, seeds, [7] * BATCH, MANIFEST.class_names, None), wanted)
        first += BATCH
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            return done * BATCH / elapsed
    raise AssertionError


def main() -> None:
    wanted, seconds, cores = cast(Format, sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    loop(Model(), wanted, 0.2, 0)
    one = loop(Model(cores), wanted, seconds, 0)
    models = [Model(1) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        many = sum(pool.map(lambda model: loop(model, wanted, seconds, 0), models))
    print(max(one, many))


if __name__ == "__main__":
    main()
