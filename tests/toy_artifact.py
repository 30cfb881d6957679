"""Small real artifacts without a net or torch: one layer, made in milliseconds, different weights for each version."""

from __future__ import annotations

import hashlib
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from gan_export.artifact import (
    SAMPLER,
    ImageSpec,
    LatentSpec,
    Manifest,
    Properties,
    Provenance,
    TensorSpec,
    Variant,
    draw,
    load_artifact,
    open_session,
    run_session,
)
from gan_export.artifact.certificate import Certificate, Errors, Gate, Options, VariantCertificate
from gan_export.artifact.golden import golden_entry
from gan_export.artifact.manifest import IDENTITY_KEY

DIM, SIZE = 6, 8
GOLDEN_IMAGES = 8


def write_artifact(
    folder: Path, version: int = 0, *, name: str | None = None, forged: bool = False, garbled: bool = False
) -> Path:
    """A complete artifact of 8 x 8 grey images; with `forged`, its weights are not those of its golden images, and with
    `garbled`, these have the digest that they should, but can't be decompressed."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(version)
    weights, bias = (rng.normal(0, 0.4, shape).astype(np.float32) for shape in ((DIM, SIZE * SIZE), (SIZE * SIZE,)))
    z = draw(range(GOLDEN_IMAGES), DIM, "normal").latents
    pixels = np.tanh(z.astype(np.float64) @ weights + bias).astype(np.float32).reshape(-1, 1, SIZE, SIZE)
    (np.savez_compressed if garbled else np.savez)(folder / "golden.npz", z=z, pixels=pixels)
    if garbled:
        _garble(folder / "golden.npz", "pixels.npy")
    golden = (folder / "golden.npz").read_bytes()
    manifest = toy_manifest(name or folder.name, golden, version=version)
    graph = _graph(weights * np.float32(1.5) if forged else weights, bias, manifest.identity())
    return finish_artifact(folder, manifest, graph, pixels)


def _garble(path: Path, member: str) -> None:
    """Begin the compressed bytes of an archive's member with what begins none."""
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo(member).header_offset
    content = bytearray(path.read_bytes())
    name, extra = struct.unpack_from("<HH", content, offset + 26)
    content[offset + 30 + name + extra] = 0xFF
    path.write_bytes(content)


def finish_artifact(folder: Path, manifest: Manifest, graph: bytes, pixels: Any) -> Path:
    """Write all but golden.npz, which is there.

    Args:
        folder: exists.
        manifest: with a variant whose digest is still to be found.
        graph: of that variant.
        pixels: (N, C, H, W) of the golden images, from -1 to 1.
    """
    (folder / "generator.onnx").write_bytes(graph)
    digest = hashlib.sha256(graph).hexdigest()
    variant = Variant(name="fp32", file="generator.onnx", sha256=digest, images_per_second={})
    manifest = manifest.model_copy(update={"variants": [variant]})
    (folder / "manifest.json").write_text(manifest.to_json())
    (folder / "certificate.json").write_text(_certificate(manifest).to_json())
    Image.fromarray(((pixels[0, 0] + 1) * 127.5).astype(np.uint8)).save(folder / "preview.png")
    (folder / "README.md").write_text(
        f"# {manifest.name}\n\nVersion {manifest.hyperparameters['version']}, für Tests.\n", "utf-8"
    )
    return folder


def put_in_place(made: Path, out: Path) -> None:
    """As gan-export does: by renaming; an older artifact steps aside first."""
    if out.exists():
        aside = out.parent / f".{out.name}.old"
        out.rename(aside)
        made.rename(out)
        shutil.rmtree(aside)
    else:
        made.rename(out)


def images_of(folder: Path, seeds: list[int]) -> Any:
    """(n, 8, 8) of a direct session."""
    artifact = load_artifact(folder)
    return run_session(open_session(artifact, threads=1), draw(seeds, DIM, "normal").latents, None)[:, 0]


def toy_manifest(
    name: str,
    golden: bytes,
    *,
    version: int = 0,
    dim: int = DIM,
    size: int = SIZE,
    channels: int = 1,
    class_names: list[str] | None = None,
) -> Manifest:
    """What is known of an artifact before its graph is there; `golden` is the content of golden.npz."""
    shape: list[int | str] = ["N", channels, size, size]
    inputs = [TensorSpec(name="z", dtype="float32", shape=["N", dim])]
    if class_names is not None:
        inputs.append(TensorSpec(name="label", dtype="int64", shape=["N"]))
    mode = "L" if channels == 1 else "RGB"
    return Manifest(
        name=name,
        family="test/toy",
        hyperparameters={"version": version},
        latent=LatentSpec(dim=dim, distribution="normal", sampler=SAMPLER),
        class_names=class_names,
        image=ImageSpec(height=size, width=size, channels=channels, mode=mode, value_range=(-1.0, 1.0)),
        inputs=inputs,
        outputs=[
            TensorSpec(name="image", dtype="uint8", shape=shape),
            TensorSpec(name="pixels", dtype="float32", shape=shape),
        ],
        provenance=Provenance(source_sha256="0" * 64, weights="raw", training={}, packages={}),
        properties=Properties(deterministic=True, batch_invariant=True),
        golden=golden_entry(golden),
        variants=[Variant(name="fp32", file="generator.onnx", sha256="0" * 64, images_per_second={})],
    )


def _graph(weights: Any, bias: Any, identity: str) -> bytes:
    """z -> tanh(z W + b) as pixels, and rounded to uint8 as image."""
    constants = {
        "weights": weights,
        "bias": bias,
        "shape": np.array([-1, 1, SIZE, SIZE], np.int64),
        "one": np.float32(1.0),
        "scale": np.float32(127.5),
    }
    nodes = [
        helper.make_node("MatMul", ["z", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["pixels"]),
        helper.make_node("Add", ["pixels", "one"], ["positive"]),
        helper.make_node("Mul", ["positive", "scale"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["image"], to=TensorProto.UINT8),
    ]
    image = ["N", 1, SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", DIM])],
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, image),
            helper.make_tensor_value_info("pixels", TensorProto.FLOAT, image),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {IDENTITY_KEY: identity})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def toy_gate(code: str, *, passed: bool, allowed: bool = False) -> Gate:
    """One of a certificate, where what it measured does not matter."""
    return Gate(code=code, passed=passed, allowed=allowed, measured=1, limit=0, unit="u", what="w", advice="a")


def _certificate(manifest: Manifest) -> Certificate:
    gate = Gate(code="finite", passed=True, measured=0, limit=0, unit="values", what="no NaN", advice="none")
    result = VariantCertificate(
        variant="fp32",
        provider="CPUExecutionProvider",
        images=GOLDEN_IMAGES,
        compared=GOLDEN_IMAGES,
        batches=[GOLDEN_IMAGES],
        seeds=[0],
        against_float32=Errors(max_abs=1e-7, mean_abs=1e-8, p999_abs=1e-7, psnr_db=120.0),
        against_float64=None,
        float32_against_float64=None,
        uint8_differing_share=0.0,
        uint8_max_difference=0,
        gates=[gate],
    )
    return Certificate(
        manifest_identity=manifest.identity(), reference="NumPy", options=Options(), results=[result]
    ).sealed()
