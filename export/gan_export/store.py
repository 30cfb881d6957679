"""An artifact in BentoML's model store."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from .artifact import Artifact
from .refusal import ExportError


def put_into_store(artifact: Artifact) -> str:
    """Copy an artifact into the model store of this BENTOML_HOME; returns its tag, `name:version`.

    Raises:
        ExportError: BentoML is not installed, or the store can't be written.
    """
    try:
        import bentoml
        from bentoml.exceptions import BentoMLException
    except ModuleNotFoundError as error:
        raise ExportError(
            "--store needs the package 'bentoml'; install it with: pip install 'ganworks[serve]'"
        ) from error
    manifest = artifact.manifest
    labels = {"family": _label(manifest.family), "weights": manifest.provenance.weights, "kind": "ganworks-artifact"}
    try:
        with bentoml.models.create(_tag_name(manifest.name), labels=labels, metadata={"name": manifest.name}) as model:
            for file in sorted(artifact.directory.iterdir()):
                shutil.copyfile(file, Path(model.path) / file.name)
    except (BentoMLException, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"{artifact.directory} is written, but BentoML's model store can't take it: {reason}"
        ) from error
    return str(model.tag)


def _tag_name(name: str) -> str:
    """BentoML's names are lower case."""
    return re.sub(r"[^a-z0-9._-]", "-", name.lower())


def _label(text: str) -> str:
    """BentoML's labels have 63 characters of a small alphabet."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:63].strip("-._")
