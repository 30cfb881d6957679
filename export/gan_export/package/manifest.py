"""The manifest that an export begins with; its variants come as they are made."""

from __future__ import annotations

import importlib.metadata

from gan_export.artifact import (
    IMAGE_OUTPUT,
    LABEL_INPUT,
    LATENT_INPUT,
    PIXELS_OUTPUT,
    Manifest,
    Properties,
    Provenance,
    TensorSpec,
)
from gan_export.artifact.golden import golden_entry
from gan_export.capture import BATCH
from gan_export.sources.source import Source

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "ganworks")


def first_manifest(source: Source, name: str, golden: bytes, properties: Properties) -> Manifest:
    """All that the source tells, and no variants; `golden`: what is to be in the file of golden images."""
    image = [BATCH, source.image.channels, source.image.height, source.image.width]
    inputs = [TensorSpec(name=LATENT_INPUT, dtype="float32", shape=[BATCH, source.latent.dim])]
    if source.class_names is not None:
        inputs.append(TensorSpec(name=LABEL_INPUT, dtype="int64", shape=[BATCH]))
    # model_construct: the schema wants a variant, which needs the file, which needs this manifest's identity.
    return Manifest.model_construct(
        schema_version=1,
        name=name,
        family=source.family,
        hyperparameters=source.hyperparameters,
        latent=source.latent,
        class_names=source.class_names,
        image=source.image,
        inputs=inputs,
        outputs=[
            TensorSpec(name=IMAGE_OUTPUT, dtype="uint8", shape=list(image)),
            TensorSpec(name=PIXELS_OUTPUT, dtype="float32", shape=list(image)),
        ],
        provenance=Provenance(
            source_sha256=source.sha256,
            weights=source.weights,
            training=source.training,
            packages=package_versions(),
        ),
        properties=properties,
        golden=golden_entry(golden),
        variants=[],
    )


def package_versions() -> dict[str, str]:
    """Of PACKAGES, as a manifest has them."""
    return {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version(f"{package}-gpu")  # ONNX Runtime's for GPUs, in the place of the other
