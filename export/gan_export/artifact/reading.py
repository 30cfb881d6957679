"""Reading artifacts: nothing of a directory is believed before its manifest and digests agree."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from .manifest import MANIFEST_FILE, Manifest, Variant

MAX_MANIFEST_BYTES: Final = 8 * 2**20


class ArtifactError(ValueError):
    """A directory that is no artifact, or a damaged one; the message is one line."""


@dataclass(frozen=True)
class Artifact:
    """A directory whose manifest was read and whose variant files have the digests it names."""

    directory: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    def variant(self, name: str = "fp32") -> Variant:
        """The variant of that name; raises ArtifactError if there is none."""
        for variant in self.manifest.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.manifest.variants)
        raise ArtifactError(f"{self.directory}: has no variant {name!r}; it has {known}")

    def path_of(self, variant: Variant) -> Path:
        return self.directory / variant.file


def load_artifact(directory: Path) -> Artifact:
    """Read and check an artifact.

    Raises:
        ArtifactError: no manifest, not one this version reads, or a file whose sha256 is another.
    """
    manifest = _read_manifest(directory)
    artifact = Artifact(directory, manifest)
    for variant in manifest.variants:
        _check_digest(artifact.path_of(variant), variant)
    return artifact


def is_artifact(directory: Path) -> bool:
    """Whether there is a manifest of ours, be the other files damaged or missing."""
    try:
        _read_manifest(directory)
    except ArtifactError:
        return False
    return True


def find_artifacts(folder: Path) -> list[Path]:
    """The artifact directories in `folder`, sorted by name; `folder` itself if it is one."""
    if (folder / MANIFEST_FILE).is_file():
        return [folder]
    if not folder.is_dir():
        return []
    found = (path for path in folder.glob(f"*/{MANIFEST_FILE}") if path.is_file())
    return sorted(path.parent for path in found if not path.parent.name.startswith("."))


def _read_manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST_FILE
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{path}: is larger than {MAX_MANIFEST_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ArtifactError(f"{directory}: is no artifact, {MANIFEST_FILE} can't be read: {reason}") from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise ArtifactError(f"{path}: {where if where.isprintable() else repr(where)}: {first['msg']}") from error


def _check_digest(path: Path, variant: Variant) -> None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: can't be read: {error.strerror}") from error
    if digest != variant.sha256:
        raise ArtifactError(
            f"{path}: has sha256 {digest[:12]}..., but the manifest says {variant.sha256[:12]}...; "
            "the file was changed after its export: export again"
        )
