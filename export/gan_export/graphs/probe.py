"""The process that reads an untrusted ONNX file, under limits of memory and time, and runs it for the first time.

    python -P -m gan_export.graphs.probe SOURCE TARGET MEMORY_BYTES FILE_BYTES SECONDS WISHES

writes the graph with serving's signature to TARGET. On stdout: a line for each stage, then one line of JSON that holds
what was found, or `refused`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, inliner

from gan_export.artifact import LABEL_INPUT, LATENT_INPUT, PIXELS_OUTPUT, draw
from gan_export.artifact.certificate import TOLERANCE
from gan_export.lowering import OPSET
from gan_export.refusal import BATCH_HINT, IntakeError, batch_hint
from gan_export.untrusted.confined import MIB, allow_more, limit
from gan_export.untrusted.messages import shown

from .audit import audit, opset_of, parse
from .images import Images, Seen, read_images
from .signature import GraphOptions, Signature, find_signature
from .sizes import check_sizes, draws_noise
from .wrapped import INNER, plain, serve

PROBED_IMAGES: Final = 64
PROBED_BATCHES: Final = (
    4,
    1,
)  # 1: for graphs that only run image by image, which the certificate refuses
GROWTH: Final = 8  # bytes of memory for each of the file: parsed, converted, checked and loaded it exists in copies
LIVE_VALUES: Final = 256  # kept at once for each value of an image: 64 grey maps of its size, with copies
MOST_LIVE_BYTES: Final = 4096 * MIB
COMPARED: Final = 8  # images of the graph that was given and of the one that is served
GREY_LEVEL: Final = 2 / 255 + 1e-6
MAX_REASON: Final = 300  # characters of what a library says
TOGETHER: Final = f"run with {PROBED_IMAGES} latents at once"
_PLACE: Final = re.compile(r"(^|Status Message: )\S+\.(?:h|cc|cpp):\d+ (?:.* was false\. (?=\S))?")
"""Of ONNX Runtime's source, with the condition that was false; what the user needs stands behind it."""
INVALID: Final = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError)

Array = NDArray[Any]


def read_bytes(path: Path, most: int) -> bytes:
    """The file's content, read once; raises IntakeError if it is not a file or is larger than `most` bytes."""
    # A pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:  # noqa: PTH123
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise IntakeError("is not a file")
        content = file.read(most + 1) if status.st_size <= most else b""
    if status.st_size > most or len(content) > most:
        raise IntakeError(f"is larger than {most // MIB:,} MiB; export it with float16 weights or a smaller generator")
    return content


def examine(content: bytes, options: GraphOptions) -> tuple[ModelProto, dict[str, Any]]:
    """From the bytes of a file to the graph that is served, and what is to be told of it.

    Raises:
        IntakeError: it is not what it should be, or does not tell enough.
    """
    try:
        return _examine(parse(content), options)
    except UnicodeDecodeError as error:
        raise IntakeError("is damaged: a name in it is not UTF-8 text") from error


def _examine(model: ModelProto, options: GraphOptions) -> tuple[ModelProto, dict[str, Any]]:
    audit(model)
    told = {"opset": opset_of(model), "producer": model.producer_name}
    _stage("checked")
    model = _inlined(model)
    signature = find_signature(model.graph, options)
    original = plain(model, signature)
    del model
    _check(original)
    check_sizes(original.graph)
    _stage("run")
    z, label = _sample(signature, options)
    feed = {INNER + name: value for name, value in signature.feed(z, label).items()}
    seen = _run(original, feed, INNER + signature.output.name)
    images = read_images(seen, signature.output, options)
    served = serve(original, signature, images)
    _check(served)
    own = {LATENT_INPUT: z} | ({LABEL_INPUT: label} if signature.classes else {})
    own = {name: value[:COMPARED] for name, value in own.items()}
    found = _run(served, own, PIXELS_OUTPUT)
    # A graph that draws noise is for the certificate to refuse.
    if not draws_noise(original.graph) and not _agree(found.first, images.pixels(seen.first), _tolerance(seen)):
        raise IntakeError(f"gives different images in opset {OPSET} than in its own {told['opset']}; export it with 17")
    _run(served, own, PIXELS_OUTPUT, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)  # it may fold what was never run
    _stage(TOGETHER)
    # What is small for a few images may grow with the square of the batch, or more.
    allow_more(PROBED_IMAGES * LIVE_VALUES * 4 * math.prod(images.shape))
    whole = {name: value for name, value in ((LATENT_INPUT, z), (LABEL_INPUT, label)) if name in own}
    with contextlib.suppress(IntakeError):  # a batch size that is built in is for the certificate to refuse
        _run(served, whole, PIXELS_OUTPUT, ort.GraphOptimizationLevel.ORT_ENABLE_ALL, (PROBED_IMAGES,))
    return served, told | _facts(signature, images)


def _inlined(model: ModelProto) -> ModelProto:
    if not model.functions:
        return model
    try:
        model = inliner.inline_local_functions(model, convert_version=True)
    except INVALID as error:
        raise IntakeError(f"has functions that can't be unfolded: {_line(error)}") from error
    if model.functions:
        names = sorted({function.name for function in model.functions})
        raise IntakeError(f"has a function {shown(names[0])} that can't be unfolded; export it without functions")
    audit(model)
    return model


def _check(model: ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except INVALID as error:
        raise IntakeError(f"is not a valid ONNX graph: {_line(error)}") from error


def _sample(signature: Signature, options: GraphOptions) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    z = draw(range(PROBED_IMAGES), signature.latent_dim, options.distribution).latents
    z = z.astype(signature.latent.dtype).astype(np.float32)  # ONNX Runtime may leave out a pair of casts, and rounding
    return z, np.arange(PROBED_IMAGES, dtype=np.int64) % max(signature.classes, 1)


def _run(
    model: ModelProto,
    feed: Mapping[str, Array],
    output: str,
    level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    batches: Sequence[int] = PROBED_BATCHES,
) -> Seen:
    """All images, a few at a time."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = 4
    failures: list[Exception] = []
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types
        _raise_if_memory(error)
        raise IntakeError(f"ONNX Runtime can't load it: {_line(error)}") from error
    total = len(next(iter(feed.values())))
    for batch in batches:
        try:
            return _in_batches(session, feed, output, total, batch)
        except Exception as error:  # noqa: BLE001 - as above
            _raise_if_memory(error)
            failures.append(error)
    first = failures[0]
    hint = BATCH_HINT if isinstance(first, IntakeError) else batch_hint(str(first))
    raise IntakeError(f"ONNX Runtime can't run it with {batches[0]} images, nor with one: {_line(first)}{hint}")


def _in_batches(session: ort.InferenceSession, feed: Mapping[str, Array], output: str, total: int, batch: int) -> Seen:
    first: list[Array] = []
    bounds: list[float] = []
    for start in range(0, total, batch):
        part = {name: value[start : start + batch] for name, value in feed.items()}
        made = session.run([output], part)[0]
        wanted = len(next(iter(part.values())))
        if not made.ndim or len(made) != wanted:
            raise IntakeError(f"gives {shown(made.shape)} for {wanted} latents")
        if start < COMPARED:
            first.append(made)
        finite = made[np.isfinite(made)]
        bounds += [float(finite.min()), float(finite.max())] if finite.size else []
    return Seen(np.concatenate(first), min(bounds, default=np.nan), max(bounds, default=np.nan), total)


def _tolerance(seen: Seen) -> float:
    """Of pixels on [-1, 1]: one step of an output that is rounded coarsely, such as half precision or bytes."""
    dtype = seen.first.dtype
    return max(TOLERANCE, 2 * float(np.finfo(dtype).eps) if dtype.kind == "f" else GREY_LEVEL)


def _agree(found: Array, wanted: Array, tolerance: float) -> bool:
    """Whether two are the same images, where both are numbers."""
    return found.shape == wanted.shape and bool(np.nanmax(np.abs(found - wanted), initial=0.0) <= tolerance)


def _facts(signature: Signature, images: Images) -> dict[str, Any]:
    label, output = signature.label, signature.output
    return {
        "latent_input": signature.latent.name,
        "label_input": None if label is None else label.name,
        "output": output.name,
        "latent_dim": signature.latent_dim,
        "latent_shape": signature.latent_shape,
        "label": signature.label_kind,
        "classes": signature.classes,
        "layout": images.layout,
        "image_shape": images.shape,
        "value_range": images.value_range,
    }


def _raise_if_memory(error: Exception) -> None:
    if re.search(r"bad.?alloc|allocate memory|MemoryError", f"{type(error).__name__} {error}", re.IGNORECASE):
        raise MemoryError from error


def _line(error: Exception) -> str:
    """The first line that says something, in plain characters; of a long one the middle is left out."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0] if lines else type(error).__name__)
    line = _PLACE.sub(r"\1", line).replace(INNER, "").encode("unicode_escape").decode("ascii")
    half = MAX_REASON // 2
    return line if len(line) <= MAX_REASON else f"{line[:half]} ... {line[-half:]}"


def _stage(name: str) -> None:
    print(name, flush=True)


def main(source: str, target: str, memory: str, most: str, seconds: str, options: str) -> None:
    """Read, write and tell; any other exception ends the process, and its reader says what that means."""
    said = json.loads(options)
    said |= {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    _stage("read")
    try:
        size = min(Path(source).stat().st_size, int(most))
        limit(int(memory) + GROWTH * size, 2 * size + MIB, int(seconds), MOST_LIVE_BYTES)
        content = read_bytes(Path(source), int(most))
        served, told = examine(content, GraphOptions(**said))
        Path(target).write_bytes(served.SerializeToString(deterministic=True))
        told["sha256"] = hashlib.sha256(content).hexdigest()
    except IntakeError as error:
        told = {"refused": str(error)}
    except OSError as error:
        told = {"refused": f"can't be read: {error.strerror or error}"}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
