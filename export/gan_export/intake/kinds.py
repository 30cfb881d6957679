"""What a file is by its first and last bytes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO, Final, Literal

from gan_export.refusal import IntakeError
from gan_export.untrusted.messages import HEAD_BYTES, kind_of

from .archive import MAGIC as ZIP
from .legacy import MAGIC as LEGACY

Format = Literal["zip", "legacy", "safetensors"]

WANTED: Final = "give a file of torch.save, a .safetensors file or an .onnx file"
_RESAVE: Final = "if you trust it, load it with its own code and torch.save(G.state_dict(), ...)"
_PICKLE: Final = f"a plain pickle (as StyleGAN's .pkl), which carries code or names code to run; {_RESAVE}"
_TAR: Final = slice(257, 262)
_LEVELDB: Final = bytes.fromhex("57fb808b247547db")  # the end of a TensorFlow index

_BEGINNINGS: Final = (
    (re.compile(rb"\x89HDF\r\n\x1a\n"), "an HDF5 file (Keras .h5); save the weights from PyTorch instead"),
    (re.compile(rb"\x93NUMPY"), "a numpy array (.npy); save a state dict from PyTorch instead"),
    (re.compile(rb"PK\x05\x06"), f"an empty zip archive; {WANTED}"),
    (re.compile(rb"\x08[\x01-\x20](\x12|\x1a|\x22|\x3a|\x42)"), "an ONNX model by its first bytes; name it .onnx"),
    (re.compile(rb"GGUF|GGML"), "a language model's weights (GGUF), not a generator's"),
    (re.compile(rb"\x80[\x02-\x05]|\(?[ci][\w.]+\r?\n[\w.]+\r?\n|[(\]}][lpd]?[p0-9]?\d*\n"), _PICKLE),
)
_NAMES: Final = (
    (re.compile(r"\.data-\d{5}-of-\d{5}$|\.ckpt\.(index|meta)$"), f"a TensorFlow checkpoint; {WANTED}"),
    (re.compile(r"\.pb$"), f"a TensorFlow model; {WANTED}"),
    (re.compile(r"\.onnx$"), f"an ONNX model by its name, not PyTorch weights; {WANTED}"),
)


def find_format(file: BinaryIO, path: Path) -> Format:
    """The format of a file of weights.

    Raises:
        IntakeError: it is empty or something else, and what.
    """
    size = os.fstat(file.fileno()).st_size
    head = file.read(HEAD_BYTES)
    if not head:
        raise IntakeError("is empty; copy or download it again")
    if head.startswith(LEGACY):
        return "legacy"
    if head.startswith(ZIP):
        return "zip"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    raise IntakeError(f"is {_other(file, size, head, path.name)}")


def _other(file: BinaryIO, size: int, head: bytes, name: str) -> str:
    if head[_TAR] == b"ustar":
        return "a tar archive (as torch.save wrote before 0.2); unpack it, or load and save it with a newer torch"
    if what := kind_of(head, _BEGINNINGS):
        return what
    file.seek(max(size - len(_LEVELDB), 0))
    if file.read() == _LEVELDB:
        return f"a TensorFlow checkpoint; {WANTED}"
    named = (what for pattern, what in _NAMES if pattern.search(name))
    return next(named, f"of an unknown kind (it begins with {repr(head[:8])[1:]}); {WANTED}")
