"""A real artifact that can be made slow, or to fail, by latents that no seed draws.

Its images are tanh(z W + E[label]). Besides, its graph looks at two numbers of z:

    z[FAIL]   above 50 it is an index into a table of one entry, and the session fails
    z[SLOW]   what it is above 50, in the slowest image of a batch, is how many matrix products the batch costs

so that a test can hold a session for as long as it needs, with nothing replaced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from toy_artifact import GOLDEN_IMAGES, finish_artifact, toy_manifest

from gan_export.artifact import draw, load_artifact, open_session, run_session
from gan_export.artifact.manifest import IDENTITY_KEY

DIM: Final = 8
CLASSES: Final = ["cat", "dog", "owl"]
FAIL: Final = 0
SLOW: Final = 1
SAFE: Final = 50.0
"""Up to here the two numbers do nothing; a normal latent is never larger than 9."""
SIDE: Final = 128  # of the square matrix that a slow batch is multiplied with


def write_trap(folder: Path, *, size: int = 8, channels: int = 1, version: int = 0) -> Path:
    """A complete artifact of size x size images with three classes; `channels` is 1 or 3."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(version)
    values = channels * size * size
    weights, classes = (rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((DIM, values), (3, values)))
    weights[[FAIL, SLOW]] = 0  # so that they change no image
    drawn = draw(range(GOLDEN_IMAGES), DIM, "normal", classes=len(CLASSES))
    assert drawn.labels is not None
    flat = np.tanh(drawn.latents.astype(np.float64) @ weights + classes[drawn.labels])
    pixels = flat.astype(np.float32).reshape(-1, channels, size, size)
    np.savez(folder / "golden.npz", z=drawn.latents, label=drawn.labels, pixels=pixels)
    shape: list[int | str] = ["N", channels, size, size]
    golden = (folder / "golden.npz").read_bytes()
    manifest = toy_manifest(
        folder.name, golden, version=version, dim=DIM, size=size, channels=channels, class_names=CLASSES
    )
    return finish_artifact(folder, manifest, _graph(weights, classes, shape, manifest.identity()), pixels)


def latents(n: int, *, seed: int = 0, products: int = 0, fail: tuple[int, ...] = ()) -> list[list[float]]:
    """(n, DIM) latents; each costs so many matrix products, and those of `fail` can't be generated."""
    z = draw(range(seed, seed + n), DIM, "normal").latents
    if products:
        z[:, SLOW] = SAFE + products
    z[list(fail), FAIL] = SAFE + 10
    rows: list[list[float]] = z.tolist()
    return rows


class Direct:
    """A session on the artifact, without any service."""

    def __init__(self, folder: Path) -> None:
        self._session = open_session(load_artifact(folder), threads=1)

    def by_seed(self, seeds: list[int], label: int | list[int] | None = None) -> Any:
        """uint8 (n, H, W, C), and the labels (n,)."""
        drawn = draw(seeds, DIM, "normal", classes=len(CLASSES))
        labels = drawn.labels if label is None else np.broadcast_to(np.asarray(label, np.int64), len(seeds))
        return self.by_latent(drawn.latents, labels), labels

    def by_latent(self, z: Any, labels: Any) -> Any:
        """uint8 (n, H, W, C)."""
        images = run_session(self._session, np.asarray(z, np.float32), np.ascontiguousarray(labels, np.int64))
        return images.transpose(0, 2, 3, 1)


def _graph(weights: Any, classes: Any, shape: list[int | str], identity: str) -> bytes:
    turn = np.random.default_rng(0).normal(0, SIDE**-0.5, (SIDE, SIDE)).astype(np.float32)
    constants = {
        "weights": weights,
        "classes": classes,
        "shape": np.array([-1, *shape[1:]], np.int64),
        "one": np.float32(1.0),
        "scale": np.float32(127.5),
        "nothing": np.float32(0.0),
        "safe": np.float32(SAFE),
        "fail": np.int64(FAIL),
        "slow": np.int64(SLOW),
        "table": np.zeros(1, np.float32),
        "start": np.eye(SIDE, dtype=np.float32),
        "yes": np.bool_(True),
        "column": np.array([-1, 1], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("MatMul", ["z", "weights"], ["product"]),
        node("Gather", ["classes", "label"], ["of_class"]),
        node("Add", ["product", "of_class"], ["sum"]),
        # 0 for every image, out of the table's range for one that shall fail
        node("Gather", ["z", "fail"], ["fail_raw"], axis=1),
        node("Sub", ["fail_raw", "safe"], ["fail_over"]),
        node("Relu", ["fail_over"], ["fail_index"]),
        node("Cast", ["fail_index"], ["index"], to=TensorProto.INT64),
        node("Gather", ["table", "index"], ["looked_up"]),
        node("Reshape", ["looked_up", "column"], ["looked_up_column"]),
        # products of matrices, as many as the slowest image says
        node("Gather", ["z", "slow"], ["slow_raw"], axis=1),
        node("Sub", ["slow_raw", "safe"], ["slow_over"]),
        node("Relu", ["slow_over"], ["slow_counts"]),
        node("ReduceMax", ["slow_counts"], ["slow_count"], keepdims=0),
        node("Cast", ["slow_count"], ["products"], to=TensorProto.INT64),
        node("Loop", ["products", "yes", "start"], ["turned"], body=_body(turn)),
        node("ReduceMean", ["turned"], ["mean"], keepdims=0),
        node("Mul", ["mean", "nothing"], ["zero"]),
        node("Add", ["looked_up_column", "zero"], ["addend"]),
        node("Add", ["sum", "addend"], ["all"]),
        node("Tanh", ["all"], ["flat"]),
        node("Reshape", ["flat", "shape"], ["pixels"]),
        node("Add", ["pixels", "one"], ["positive"]),
        node("Mul", ["positive", "scale"], ["scaled"]),
        node("Round", ["scaled"], ["rounded"]),
        node("Cast", ["rounded"], ["image"], to=TensorProto.UINT8),
    ]
    described = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "trap",
        [described("z", TensorProto.FLOAT, ["N", DIM]), described("label", TensorProto.INT64, ["N"])],
        [described("image", TensorProto.UINT8, shape), described("pixels", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {IDENTITY_KEY: identity})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _body(turn: Any) -> Any:
    """state -> tanh(state turn), which stays finite however often."""
    described, square = helper.make_tensor_value_info, [SIDE, SIDE]
    return helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("MatMul", ["state", "turn"], ["next_raw"]),
            helper.make_node("Tanh", ["next_raw"], ["next"]),
        ],
        "body",
        [
            described("step", TensorProto.INT64, []),
            described("going", TensorProto.BOOL, []),
            described("state", TensorProto.FLOAT, square),
        ],
        [described("goes_on", TensorProto.BOOL, []), described("next", TensorProto.FLOAT, square)],
        [numpy_helper.from_array(turn, "turn")],
    )
