"""What an artifact's images are worth: drawn through the service, as its users get them, and evaluated by gan-eval."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from recipe import BuildError, Recipe

from gan_export.artifact import Artifact, Variant
from gan_training.pages.report import versions

BIN = Path(sys.executable).parent
READY_SECONDS, STOP_SECONDS = 90, 30
LARGEST_GAP = 0.10
"""By which int8 may differ from fp32, relative, in each of GAPS."""
MEASURES = 2
"""Counted up when a measure of gan-eval becomes another one: what was measured before is measured again."""
GAPS = ("class_agreement", "precision", "recall", "frechet_distance")


@dataclass(frozen=True)
class VariantEvaluation:
    """What gan-eval found of one variant of an artifact."""

    variant: str
    values: dict[str, Any]  # of gan-eval --json
    host: dict[str, str]  # where they were measured, and with which versions
    neighbours: Path | None  # of the first: a picture of the samples closest to training images, with those


def run(command: list[str]) -> str:
    """Run one of our commands and return what it printed; its stderr goes to ours.

    Raises:
        BuildError: it failed.
    """
    print("$ " + " ".join(command), file=sys.stderr, flush=True)
    done = subprocess.run([BIN / command[0], *command[1:]], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{command[0]} failed with exit code {done.returncode}")
    return done.stdout


def evaluate(recipe: Recipe, artifact: Artifact, work: Path, *, anew: bool = False) -> list[VariantEvaluation]:
    """Every variant's figures; what `work` holds of the same graph, data and options of gan-eval is not done again.

    Args:
        recipe: names data and number of images.
        artifact: to be served.
        work: folder for images, figures and the picture of neighbours.
        anew: do everything again.

    Raises:
        BuildError: a command or the service failed, or int8 is not as good as fp32.
    """
    evaluations: list[VariantEvaluation] = []
    options = _options(recipe)
    key = hashlib.sha256(json.dumps([MEASURES, *options]).encode()).hexdigest()[:12]
    for variant in artifact.manifest.variants:
        stem = f"{variant.name}-{variant.sha256[:12]}-{recipe.images}"
        images, figures = work / f"{stem}.npz", work / f"{stem}-{key}.json"
        neighbours = None if evaluations else figures.with_suffix(".png")
        if anew:
            images.unlink(missing_ok=True)  # gan-client would find it finished
        if anew or not figures.exists():
            _draw(recipe, artifact, variant, images)
            picture = [] if neighbours is None else ["--neighbours", str(neighbours)]
            (values,) = json.loads(run(["gan-eval", str(images), *options, *picture]))
            del values["source"]  # a path
            part = figures.with_suffix(".part")
            part.write_text(json.dumps({"host": versions(torch.device("cpu")), "values": values}))
            part.replace(figures)
        evaluations.append(VariantEvaluation(variant.name, **json.loads(figures.read_text()), neighbours=neighbours))
    refuse_gap(evaluations)
    return evaluations


def _options(recipe: Recipe) -> list[str]:
    """Options of gan-eval, without the files that it reads and writes."""
    options = ["--data", recipe.data.source, "--n", str(recipe.images)]
    # The classifier is there on any machine; Inception's weights aren't.
    options += ["--features", "classifier", "--json"]
    return options + ([] if recipe.data.test is None else ["--test-data", recipe.data.test])


def refuse_gap(evaluations: Sequence[VariantEvaluation]) -> None:
    """Raises BuildError if a variant is further from the first than LARGEST_GAP."""
    first, *others = evaluations
    for other in others:
        for name in GAPS:
            value, exact = other.values[name], first.values[name]
            if exact is not None and abs(value - exact) > LARGEST_GAP * exact:
                raise BuildError(
                    f"{name} is {value:.4g} with {other.variant} and {exact:.4g} with {first.variant}; "
                    f"at most {LARGEST_GAP:.0%} between them is allowed"
                )


def _draw(recipe: Recipe, artifact: Artifact, variant: Variant, out: Path) -> None:
    name = artifact.manifest.name
    with _serving(artifact.directory, variant.name) as url:
        with urllib.request.urlopen(f"{url}/models/{name}") as answer:
            running = json.load(answer)["engine"]["variant"]
        if running != variant.name:
            raise BuildError(f"the service draws with {running}, not with {variant.name}; see its log above")
        command = ["gan-client", "dataset", "--out", str(out), "--n", str(recipe.images), "--seed", "0"]
        run([*command, "--model", name, "--url", url, "--quiet"])


@contextlib.contextmanager
def _serving(artifact: Path, variant: str) -> Iterator[str]:
    """The address of a `bentoml serve` with this artifact alone, until the block ends."""
    with tempfile.TemporaryDirectory() as home, (Path(home) / "serve.log").open("w+") as log:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GAN_")}
        environment |= {"BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "true"}
        environment |= {"GAN_MODELS": str(artifact), "GAN_VARIANT": variant, "GAN_ACCESS_LOG": "off"}
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        process = subprocess.Popen(
            [BIN / "bentoml", "serve", "gan_serving.service:GanService", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            if not _is_ready(process, url):
                log.seek(0)
                print(log.read(), file=sys.stderr)
                raise BuildError(f"the service of {artifact} did not come up; see its log above")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _is_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        left = max(0.1, end - time.monotonic())
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=left):
            return True
        time.sleep(0.1)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
