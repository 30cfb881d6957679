"""Reading artifacts: nothing of a directory is believed before its manifest and digests agree."""

from __future__ import annotations

import errno
import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from .cases import Case
from .certificate import Certificate
from .golden import MAX_GOLDEN_BYTES, unpack_golden
from .manifest import CERTIFICATE_FILE, MANIFEST_FILE, Manifest, Variant

MAX_MANIFEST_BYTES: Final = 8 * 2**20  # of the certificate too
MAX_NAMED: Final = 3  # artifacts that a message lists
MAX_FILE_BYTES: Final = 2**31  # of an ONNX file without external data
_LOCATION: Final = re.compile(rb"(\x0a|\x8a\x80*\x00)(\x08|\x88\x80*\x00)location")
"""What a tensor of an ONNX file that is stored in another one names that by, however its tag and length are written."""


class ArtifactError(ValueError):
    """A directory that is not an artifact, or a damaged one; the message is one line.

    `code` is stable: manifest, digest, identity, signature, unloadable, golden, certificate, provider, variant,
    name_taken, or a gate's.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


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
        raise ArtifactError(f"{self.directory}: has no variant {name!r}; it has {known}", code="manifest")

    def path_of(self, variant: Variant) -> Path:
        return self.directory / variant.file


def load_artifact(directory: Path) -> Artifact:
    """Read and check an artifact.

    Raises:
        ArtifactError: no manifest, not one this version reads, or a file whose sha256 is another.
    """
    manifest = read_manifest(directory)
    artifact = Artifact(directory, manifest)
    for variant in manifest.variants:
        read_graph(artifact, variant)
    return artifact


def is_artifact(directory: Path) -> bool:
    """Whether there is a manifest of ours, be the other files damaged or missing."""
    try:
        read_manifest(directory)
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


def read_manifest(directory: Path) -> Manifest:
    """What an artifact says of itself, be its other files damaged or missing.

    Raises:
        ArtifactError: it is missing, or not one this version reads.
    """
    path = directory / MANIFEST_FILE
    try:
        text = _read(path, MAX_MANIFEST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError) and (inside := find_artifacts(directory)):
            more = f" or another of its {len(inside)}" if len(inside) > MAX_NAMED else ""
            names = " or ".join(map(str, inside[:MAX_NAMED]))
            raise ArtifactError(
                f"{directory}: is not an artifact, but holds some: give {names}{more}", code="manifest"
            ) from error
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ArtifactError(
            f"{directory}: is not an artifact: {MANIFEST_FILE} can't be read: {reason}", code="manifest"
        ) from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise ArtifactError(
            f"{path}: {where if where.isprintable() else repr(where)}: {first['msg']}", code="manifest"
        ) from error


def read_golden(artifact: Artifact) -> tuple[Case, NDArray[np.float32]]:
    """The stored inputs, and the reference's pixels (N, C, H, W) for them.

    Raises:
        ArtifactError: the file is missing, damaged, or has another digest than the manifest names.
    """
    golden = artifact.manifest.golden
    path = artifact.directory / golden.file
    content = _read_checked(path, golden.sha256, MAX_GOLDEN_BYTES)
    try:
        return unpack_golden(content, artifact.manifest)
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}; export again", code="golden") from error


def read_certificate(artifact: Artifact) -> Certificate:
    """certificate.json, if it is this artifact's own.

    Raises:
        ArtifactError: it is missing, unreadable, or was written for another manifest or other variants.
    """
    path = artifact.directory / CERTIFICATE_FILE
    try:
        certificate = Certificate.model_validate_json(_read(path, MAX_MANIFEST_BYTES))
    except OSError as error:
        raise ArtifactError(f"{path}: can't be read: {error.strerror}; export again", code="certificate") from error
    except ValueError as error:
        raise ArtifactError(
            f"{path}: is not a certificate that this version can read; export again", code="certificate"
        ) from error
    if certificate.manifest_identity != artifact.manifest.identity():
        raise ArtifactError(
            f"{path}: was written for another {MANIFEST_FILE}; the manifest was changed or the certificate swapped: "
            "export again",
            code="identity",
        )
    if certificate.sha256 != certificate.digest():
        raise ArtifactError(f"{path}: was changed after its export; export again", code="certificate")
    _check_variants(artifact, certificate)
    return certificate


def _check_variants(artifact: Artifact, certificate: Certificate) -> None:
    """Whether manifest and certificate speak of the same variants.

    Raises:
        ArtifactError: one of them has a variant that the other has not, or a variant was listed otherwise.
    """
    listed = {variant.name for variant in artifact.manifest.variants}
    certified = {result.variant for result in certificate.results}
    path = artifact.directory / MANIFEST_FILE
    if lost := sorted(certified - listed):
        raise ArtifactError(
            f"{path}: does not list the variant {lost[0]!r}, for which {CERTIFICATE_FILE} has results; it lists "
            f"{', '.join(sorted(listed))}; it was changed after its export: export again",
            code="manifest",
        )
    if added := sorted(listed - certified):
        raise ArtifactError(
            f"{path}: lists a variant {added[0]!r}, for which {CERTIFICATE_FILE} has no result; it has results for "
            f"{', '.join(sorted(certified)) or 'none'}; it was changed after its export: export again",
            code="manifest",
        )
    if certificate.variants_sha256 not in (None, artifact.manifest.variants_digest()):
        raise ArtifactError(
            f"{artifact.directory / CERTIFICATE_FILE}: was written for other variants than {MANIFEST_FILE} lists; the "
            "manifest was changed or a file swapped: export again",
            code="identity",
        )


def read_graph(artifact: Artifact, variant: Variant) -> bytes:
    """The ONNX file, as the manifest knows it; raises ArtifactError if it was changed, or refers to another file."""
    path = artifact.path_of(variant)
    content = _read_checked(path, variant.sha256, MAX_FILE_BYTES)
    # Runtimes would look for that in the working folder. Read as bytes, since serving has no onnx.
    if b"location" in content and _LOCATION.search(content):
        raise ArtifactError(
            f"{path}: stores weights in another file, which is not read; export again", code="unloadable"
        )
    return content


def _read_checked(path: Path, sha256: str, most: int) -> bytes:
    """The very bytes whose digest was checked: a file that changes afterwards is never used."""
    try:
        content = _read(path, most)
    except OSError as error:
        raise ArtifactError(f"{path}: can't be read: {error.strerror}", code="digest") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ArtifactError(
            f"{path}: has sha256 {digest[:12]}..., but the manifest says {sha256[:12]}...; "
            "the file was changed after its export: export again",
            code="digest",
        )
    return content


def _read(path: Path, most: int) -> bytes:
    """The content of a file; raises OSError if it is a pipe, a device or a folder, or larger than `most` bytes."""
    status = path.stat()  # before it is opened: a pipe would wait for its writer
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a file")
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
    with path.open("rb") as file:
        return file.read(status.st_size)
