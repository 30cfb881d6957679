"""The artifact: what it holds, how it is read, how a seed becomes a latent. Free of torch: serving imports it."""

from .latents import SAMPLER, SEED_LIMIT, draw
from .manifest import (
    CERTIFICATE_FILE,
    IMAGE_OUTPUT,
    LABEL_INPUT,
    LATENT_INPUT,
    MANIFEST_FILE,
    PIXELS_OUTPUT,
    PREVIEW_FILE,
    ImageSpec,
    LatentSpec,
    Manifest,
    Properties,
    Provenance,
    Rewrite,
    TensorSpec,
    Variant,
)
from .reading import Artifact, ArtifactError, find_artifacts, is_artifact, load_artifact
from .runtime import open_session, run_session

__all__ = [
    "CERTIFICATE_FILE",
    "IMAGE_OUTPUT",
    "LABEL_INPUT",
    "LATENT_INPUT",
    "MANIFEST_FILE",
    "PIXELS_OUTPUT",
    "PREVIEW_FILE",
    "SAMPLER",
    "SEED_LIMIT",
    "Artifact",
    "ArtifactError",
    "ImageSpec",
    "LatentSpec",
    "Manifest",
    "Properties",
    "Provenance",
    "Rewrite",
    "TensorSpec",
    "Variant",
    "draw",
    "find_artifacts",
    "is_artifact",
    "load_artifact",
    "open_session",
    "run_session",
]
