"""The tag of a response whose bytes are known before they are made: same artifact, seeds and format, same bytes."""

from __future__ import annotations

import hashlib
import zlib
from importlib.metadata import version
from typing import Final

import numpy as np
import PIL

from gan_client.types import GenerateRequest
from gan_serving.requests.plan import Plan

ENCODERS: Final = 2
"""Version of the bytes that formats/ makes: a new one makes new tags."""
_VERSIONS: Final = repr((ENCODERS, np.__version__, version("scipy"), PIL.__version__, zlib.ZLIB_RUNTIME_VERSION))
"""What makes other bytes of the same request, and is the same as long as the process runs: latents come from NumPy and
SciPy. The library that draws the images has its version in the digest."""


def etag_of(digest: str, plan: Plan, asked: GenerateRequest, wanted: str) -> str | None:
    """The entity tag of a request's response (RFC 9110, section 8.8.3); None if its images were left to chance.

    Args:
        digest: of the generator: of its graph, and of what draws it.
        plan: what is to be generated.
        asked: the request.
        wanted: the format of the response.
    """
    if asked.seed is None and asked.seeds is None and asked.latents is None:
        return None
    said = (
        digest, _VERSIONS, wanted, len(plan),
        asked.seed, asked.seeds, asked.truncation, asked.columns, asked.quality,
    )  # fmt: skip
    found = hashlib.blake2b(repr(said).encode(), digest_size=16)
    if plan.every_label is not None:
        found.update(np.asarray(plan.every_label).tobytes())
    if plan.every_latent is not None:
        found.update(plan.every_latent.tobytes())
    return f'"{found.hexdigest()}"'


def matches(etag: str, header: str | None) -> bool:
    """Whether an If-None-Match header names the tag (weak comparison), or is `*`, which any stored bytes are."""
    return header is not None and (header.strip() == "*" or names(etag, header))


def names(etag: str, header: str | None) -> bool:
    """Whether the header names the tag itself: what is made for a POST is stored nowhere, so that `*` says nothing."""
    return header is not None and etag in (tag.strip().removeprefix("W/") for tag in header.split(","))
