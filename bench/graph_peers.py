"""Who draws in bench/graphs.py: every way to run a generator, as a function of its inputs."""

import contextlib
import io
import logging
import multiprocessing
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from graph_nets import Net, build
from onnx import TensorProto, helper, numpy_helper

from gan_export.artifact import Artifact, load_artifact, open_session
from gan_export.artifact.providers import PROVIDERS, is_usable

OPSET = 17
PEERS = (
    *("eager", "compile", "plain", "onnxslim", "openvino", "openvino-bf16"),
    *("ours", "int8", "ours-openvino", "ours-openvino-bf16"),
)

Feed = dict[str, np.ndarray]


class Worker:
    """A peer in a process of its own: its threads are nobody else's."""

    def __init__(self, peer: str, net: str, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(peer, net, folder, theirs))

    def __enter__(self) -> "Worker":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join()

    def seconds(self, batch: int, count: int) -> float:
        """Of one call, the mean over so many."""
        self._pipe.send((batch, count))
        return float(self._pipe.recv())


def _work(peer: str, name: str, folder: Path, pipe: Connection) -> None:
    net = build(name)
    draw = open_peer(peer, net, folder / f"{name}.onnx", load_artifact(folder / name))
    while (asked := pipe.recv()) is not None:
        batch, count = asked
        feed = feed_of(net.latent_dim, net.classes, batch)
        began = time.perf_counter()
        for _ in range(count):
            draw(feed)
        pipe.send((time.perf_counter() - began) / count)


def feed_of(latent_dim: int, classes: int, batch: int) -> Feed:
    """Random latents (batch, latent_dim) float32, the same each time, and labels (batch,) if there are classes."""
    feed = {"z": np.random.default_rng(batch).standard_normal((batch, latent_dim), np.float32)}
    return feed | ({"label": np.arange(batch) % classes} if classes else {})


def write_plain_file(net: Net, path: Path) -> None:
    """torch.onnx.export, by tracing, as tutorials have it."""
    example = (torch.randn(2, net.latent_dim), *((torch.tensor([0, 1]),) if net.classes else ()))
    names = ["z", "label"][: len(example)]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.module,
            example,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=["pixels"],
            dynamic_axes={name: {0: "batch"} for name in [*names, "pixels"]},
        )


def is_there(peer: str, artifact: Artifact) -> bool:
    """Whether this host and this artifact have it."""
    if peer.startswith("ours-"):
        return is_usable(PROVIDERS[peer.removeprefix("ours-")])
    return peer != "int8" or any(variant.name == "int8" for variant in artifact.manifest.variants)


def open_peer(peer: str, net: Net, plain: Path, artifact: Artifact) -> Callable[[Feed], object]:
    """A function that draws a batch."""
    if peer in ("ours", "int8"):
        ours = open_session(artifact, "fp32" if peer == "ours" else "int8")
        return lambda feed: ours.run(["image"], feed)
    if peer.startswith("ours-"):
        other = open_session(artifact, provider=PROVIDERS[peer.removeprefix("ours-")])
        return lambda feed: other.run(["image"], feed)
    if peer in ("eager", "compile"):
        return _torch(net, compiled=peer == "compile")
    if peer.startswith("openvino"):
        return _openvino(plain, "bf16" if peer.endswith("bf16") else "f32")
    if peer == "onnxslim":
        import onnxslim

        logging.disable(logging.WARNING)
        session = ort.InferenceSession(
            onnxslim.slim(onnx.load(plain)).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return lambda feed: session.run(None, feed)
    session = ort.InferenceSession(str(plain), providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)


def _torch(net: Net, *, compiled: bool) -> Callable[[Feed], object]:
    module = torch.compile(net.module) if compiled else net.module

    def draw(feed: Feed) -> object:
        with torch.inference_mode():
            return module(*(torch.from_numpy(array) for array in feed.values())).numpy()

    return draw


def _openvino(plain: Path, precision: str) -> Callable[[Feed], object]:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(plain), "CPU", {"INFERENCE_PRECISION_HINT": precision})
    request = compiled.create_infer_request()
    return lambda feed: request.infer(feed)


def matrix_product(size: int) -> ort.InferenceSession:
    """x (N, size) times a constant."""
    weight = numpy_helper.from_array(np.ones((size, size), np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def memory_of(peer: str, artifact: Path, plain: Path) -> float:
    """MiB that a process gains by opening a session and drawing 64 images."""
    command = [sys.executable, __file__, peer, str(artifact), str(plain)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _resident() -> float:
    """Largest resident set of this process so far, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _measure(peer: str, artifact: Path, plain: Path) -> None:
    loaded = load_artifact(artifact)
    manifest = loaded.manifest
    feed = feed_of(manifest.latent.dim, manifest.classes, 64)
    before = _resident()
    if peer == "plain":
        ort.InferenceSession(str(plain), providers=["CPUExecutionProvider"]).run(None, feed)
    else:
        open_session(loaded, "fp32" if peer == "ours" else "int8").run(["image"], feed)
    print(_resident() - before)


if __name__ == "__main__":
    _measure(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
