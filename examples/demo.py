"""The whole path in one go: serve the zoo, train on the embedded digits, export, and sample from the running service.

`make demo` runs it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent
NAME = "demo-digits"
ZOO = "mnist-cgan"  # an artifact that comes with the repository
RUN, ARTIFACT, SAMPLES = f"runs/{NAME}", f"models/{NAME}", "samples"  # in ROOT
LABEL, COUNT = 7, 64
READY_SECONDS, STOP_SECONDS = 60, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop the service at the end")
    parser.add_argument("--minutes", type=float, default=2.0, help="training time")
    parser.add_argument("--port", type=int, default=3000, help="port of the service; any free one if taken")
    options = parser.parse_args()
    # Ctrl-C goes to the whole terminal group, and `make` sends SIGTERM: either way the service is stopped below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    port = free_port(options.port)
    url = f"http://localhost:{port}"
    say(f"1/5 serve: bentoml serve --port {port}")
    with service(port, url):
        say(f"2/5 sample: {COUNT} images of the digit {LABEL} from {ZOO}, which is in the box")
        run(f"gan-client models --url {url}")
        sample(ZOO, url)
        say("3/5 train: a class-conditional GAN on the embedded digits")
        run(
            f"gan-train --type cgan --data digits --out {RUN} --minutes {options.minutes} --steps 100000 "
            "--set evaluate_every=0 --force"
        )
        say("4/5 export: ONNX with a certificate")
        before = served(url)
        run(f"gan-export {RUN}/ckpt.pt --name {NAME} --out {ARTIFACT} --force")
        seconds = wait_for_another(before, url)
        say(f"5/5 sample: {seconds:.1f} s later the service has {NAME}, without a restart")
        sample(NAME, url)
        print(f"\ncontact sheet  {SAMPLES}/{NAME}/sheet.png")
        print(f"export check   {certificate_line()}")
        print(f"service        {url}, playground {url}/ui/")
        if options.once:
            return
        print(f"""
Try:  curl -X POST {url}/generate -H 'content-type: application/json' \\
        -d '{{"model":"{NAME}","n":4,"label":7,"format":"png"}}' > sheet.png
Ctrl-C stops the service.""")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def sample(model: str, url: str) -> None:
    """A contact sheet of COUNT images of the digit LABEL, and each image."""
    run(
        f"gan-client sample --n {COUNT} --label {LABEL} --seed 0 --model {model} --out {SAMPLES}/{model} "
        f"--url {url} --force"
    )


def wait_for_another(version: str | None, url: str) -> float:
    """Until the service has another version of the demo's artifact; returns seconds."""
    begin = time.monotonic()
    while served(url) in (None, version):
        if time.monotonic() - begin > READY_SECONDS:
            sys.exit(f"demo: the service did not take up {ARTIFACT}; {url}/models says what it has")
        time.sleep(0.1)
    return time.monotonic() - begin


def served(url: str) -> str | None:
    """Which version of the demo's artifact the service has; None if it has none."""
    with urllib.request.urlopen(f"{url}/models") as answer:
        return {model["name"]: model["artifact"] for model in json.load(answer)["models"]}.get(NAME)


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def run(line: str) -> None:
    """Run one of our commands in ROOT; its failure, already explained on stderr, is ours."""
    print(f"$ {line}", flush=True)
    command, *arguments = line.split()
    done = subprocess.run([BIN / command, *arguments], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


@contextlib.contextmanager
def service(port: int, url: str) -> Iterator[None]:
    """`bentoml serve` with the zoo and the demo's artifact as soon as there is one, until the block ends.

    Its log is shown if it does not come up. Settings of a service that are in our environment are not for this one.
    """
    with tempfile.TemporaryDirectory() as home, (Path(home) / "serve.log").open("w+") as log:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GAN_")}
        environment |= {"BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "true", "GAN_MODELS": f"{ARTIFACT}?:zoo"}
        process = subprocess.Popen(
            [BIN / "bentoml", "serve", "--port", str(port), "--timeout-graceful-shutdown", "10"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            if not wait_until_ready(process, url):
                log.seek(0)
                sys.exit(f"demo: the service did not come up:\n{log.read()}")
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    """False where the service ended, or was not ready within READY_SECONDS."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        left = max(0.1, end - time.monotonic())
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=left):
            return True
        time.sleep(0.1)
    return False


def free_port(wanted: int) -> int:
    """`wanted`, or any free port when somebody listens on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", wanted))
        except OSError:
            probe.bind(("0.0.0.0", 0))
            print(f"(port {wanted} is in use)")
        return int(probe.getsockname()[1])


def certificate_line() -> str:
    """What the certificate says of the first variant, in one line."""
    result = json.loads((ROOT / ARTIFACT / "certificate.json").read_text())["results"][0]
    errors = result["against_float32"]
    return (
        f"{result['images']} images, largest error {errors['max_abs']:.2e}, PSNR {errors['psnr_db']:.0f} dB, "
        f"{result['uint8_differing_share']:.4%} of uint8 pixels differ, {len(result['gates'])} gates passed "
        f"({ARTIFACT}/certificate.json)"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
