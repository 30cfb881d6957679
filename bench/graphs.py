"""How fast are exported graphs: ours against PyTorch, a plain export, onnxslim and OpenVINO, on the benchmark set.

    python bench/graphs.py                  # everything, about 20 minutes on two cores
    python bench/graphs.py --help           # with examples

Everybody draws the same latents. `plain` is torch.onnx.export of the module and an ONNX Runtime session without any
options, as people do it; `onnxslim` is that file through onnxslim. They give float pixels and nothing else. Ours are
the files that gan-export writes, opened as the service opens them, and give uint8 images, rounded in the graph: the
work of that is in our times and not in theirs; `ours-openvino` is our float32 file as GAN_PROVIDER=openvino draws it.
Each has a process of its own, and all take turns (A B C A B C ...), so that other load on the machine hits all; a cell
is the median over the turns. `peak` is the share of the machine's largest float32 matrix-product rate, measured in the
same run, that the operations of the graph amount to before it is rewritten. Memory is the resident set that a process
of its own has gained after it opened the file and drew 64 images.
"""

import argparse
import contextlib
import json
import math
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import graph_peers
import numpy as np
import onnxruntime as ort
from graph_nets import NETS, build, source_of
from report.graphs import BATCHES, Result, plot, tables
from report.results import processor

from gan_export.artifact import load_artifact
from gan_export.artifact.pixels import psnr_of
from gan_export.artifact.reading import read_certificate
from gan_export.capture import capture
from gan_export.package.export import export
from gan_export.rewrite.work import work_by_layer
from gan_export.tuning import simplified

TURN_SECONDS = 0.06
REST_SECONDS = 0.15  # between turns: threads of a plain session go on spinning for a while
EPILOG = """examples:
  python bench/graphs.py --nets dcgan-64 --peers plain ours int8
  python bench/graphs.py --peers plain ours int8 --turns 9 --json > graphs.json
  python bench/graphs.py --nets dcgan-128 --json > one.json
  python bench/graphs.py --read one.json two.json --plot graphs.png
"""


def compare(name: str, peers: list[str], turns: int, folder: Path) -> Result:
    """Build the net, export it every way, and let all draw in turns."""
    net = build(name)
    variants = ("fp32", "int8") if "int8" in peers else ("fp32",)
    exported = export(source_of(name, net), name, folder / name, variants=variants)
    artifact = load_artifact(folder / name)
    graph_peers.write_plain_file(net, folder / f"{name}.onnx")
    with contextlib.ExitStack() as stack:
        workers = {
            peer: stack.enter_context(graph_peers.Worker(peer, name, folder))
            for peer in peers
            if graph_peers.is_there(peer, artifact)
        }
        rates: dict[str, dict[int, float]] = {peer: {} for peer in workers}
        for batch in BATCHES:
            for peer, rate in race(workers, batch, turns).items():
                rates[peer][batch] = rate
    flop = sum(work_by_layer(simplified(capture(net.module, net.latent_dim, net.classes)).model).values())
    result = Result(name, flop, rates, notes=exported.notes)
    for one in read_certificate(artifact).results:
        if one.variant == "int8":
            result.psnr_db = psnr_of(next(gate.measured for gate in one.gates if gate.code == "psnr"))
            result.visible = next(gate.measured for gate in one.gates if gate.code == "visible")
    result.rewrites = [
        f"{one.layer}: {one.name} ({one.speedup})" for one in artifact.variant().rewrites if one.layer is not None
    ]
    result.memory = {
        peer: graph_peers.memory_of(peer, folder / name, folder / f"{name}.onnx")
        for peer in ("plain", "ours", "int8")
        if peer in workers
    }
    return result


def race(workers: dict[str, graph_peers.Worker], batch: int, turns: int) -> dict[str, float]:
    """Images/s, the median over turns in which each draws for TURN_SECONDS or once."""
    counts: dict[str, int] = {}
    seconds: dict[str, list[float]] = {peer: [] for peer in workers}
    for peer, worker in workers.items():
        worker.seconds(batch, 1)
        counts[peer] = max(1, math.ceil(TURN_SECONDS / worker.seconds(batch, 1)))
    for _ in range(turns):
        for peer, worker in workers.items():
            time.sleep(REST_SECONDS)
            seconds[peer].append(worker.seconds(batch, counts[peer]))
    return {peer: batch / statistics.median(each) for peer, each in seconds.items()}


def peak() -> float:
    """Largest rate of a float32 matrix product with ONNX Runtime, in GFLOP/s."""
    size = 1024
    session = graph_peers.matrix_product(size)
    given = {"x": np.random.default_rng(0).standard_normal((size, size), np.float32)}
    session.run(None, given)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        session.run(None, given)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times) / 1e9


def measure(options: argparse.Namespace) -> dict[str, object]:
    """The largest matrix-product rate of before and after, and a result for each net."""
    gflops = peak()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        results = [compare(name, options.peers, options.turns, Path(folder)) for name in options.nets]
    results = json.loads(json.dumps([asdict(result) for result in results]))  # as --read has them
    return {"gflops": max(gflops, peak()), "results": results}


def stored(files: list[Path]) -> dict[str, object]:
    """Of several runs: the best peak, and the results of all."""
    runs = [json.loads(file.read_text()) for file in files]
    return {"gflops": max(run["gflops"] for run in runs), "results": [each for run in runs for each in run["results"]]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--peers", nargs="+", choices=graph_peers.PEERS, default=list(graph_peers.PEERS))
    parser.add_argument("--turns", type=int, default=7, help="of every peer, for each batch")
    parser.add_argument("--plot", type=Path, help="write a PNG")
    parser.add_argument("--json", action="store_true", help="print numbers instead of tables")
    parser.add_argument(
        "--read", nargs="+", type=Path, metavar="JSON", help="show what --json printed, and measure nothing"
    )
    options = parser.parse_args()
    found = stored(options.read) if options.read else measure(options)
    if options.plot:
        plot(found, options.plot)
    if options.json:
        print(json.dumps(found))
        return
    gflops = found["gflops"]
    print(f"{processor()}, onnxruntime {ort.__version__}, peak {gflops:.0f} GFLOP/s\n")
    print(tables(found))


if __name__ == "__main__":
    main()
