"""A real browser, a real service, and two small generators that are made in milliseconds."""

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from toy_artifact import GOLDEN_IMAGES, finish_artifact, toy_manifest

from gan_export.artifact import draw
from gan_export.artifact.manifest import IDENTITY_KEY
from gan_export.package.directions import principal_directions

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "build" / "browser"
"""What the tests saw, for a person to look at."""
NAMES = ["circle", "ring", "stripe", "wave", "cloud"]
CARD = """# {name}

![samples](preview.png)

| | |
|---|---|
| **made** | für Tests, by `conftest.py` |

- soft blobs
- <script>alert("never run")</script> and [a link](https://example.com/)

![curves of the training](curves.png)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it. Without one these tests can't run; CI must have one."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        message = "there is no Chromium: `make test` installs it where apt can, or put one into PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        # Root has no use of the sandbox, and may not have one.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        running = playwright.chromium.launch(executable_path=found, args=arguments)
        yield running
        running.close()


@dataclass
class Visit:
    """A page of the playground, and all that went wrong on it."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)  # path and body of each POST

    def open(self, fragment: str = "", *, drawn: bool = True) -> None:
        """Load it, and wait until the images are there."""
        self.page.goto(f"{self.origin}/ui/{fragment}")
        if drawn:
            self.drawn()

    def drawn(self) -> None:
        """Wait until the sheet shows what the state says."""
        expect(self.page.locator("#sheet")).to_have_attribute("data-drawn", "true")
        expect(self.page.locator("#sheet .tile").first).to_be_visible()

    def pixels(self, canvas: str = "#sheet canvas") -> np.ndarray:
        """uint8 (N, H, W, 3) of what is really on the canvases."""
        rows = self.page.evaluate(
            """(selector) => [...document.querySelectorAll(selector)].map((canvas) => {
                const {data, width, height} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                return [height, width, btoa(String.fromCharCode(...data))];
            })""",
            canvas,
        )

        return np.stack(
            [np.frombuffer(base64.b64decode(data), np.uint8).reshape(h, w, 4)[..., :3] for h, w, data in rows]
        )

    def picture(self, name: str, *, full: bool = False) -> None:
        """Keep a screenshot as an artifact."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=full)

    @property
    def fragment(self) -> str:
        """What stands behind '#'; the address follows after a moment."""
        self.page.wait_for_timeout(250)
        return "#" + self.page.url.partition("#")[2]


VisitFn = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[VisitFn]:
    """Opens pages that may complain of nothing: no error on the console, no exception, no call to anybody else."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def start(origin: str, *, width: int = 1440, height: int = 900, expected: str = "", **settings: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        context.set_default_timeout(10_000)
        page = context.new_page()
        made = Visit(page, origin)

        def console(message: Any) -> None:
            ours = "willReadFrequently" in message.text  # the tests read canvases, which the page never does
            if message.type in ("error", "warning") and not ours and not (expected and expected in message.text):
                made.complaints.append(f"{message.type}: {message.text}")

        def request(sent: Any) -> None:
            if not sent.url.startswith((origin, "blob:", "data:")):
                made.complaints.append(f"asked {sent.url}")
            if sent.method == "POST":
                made.calls.append((sent.url.removeprefix(origin), sent.post_data or ""))

        page.on("console", console)
        page.on("pageerror", lambda error: made.complaints.append(f"exception: {error}"))
        page.on("request", request)
        contexts.append(context)
        visits.append(made)
        return made

    yield start
    complaints = [complaint for made in visits for complaint in made.complaints]
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shapes`, conditional and grey with directions, and `colours`, RGB of uniform latents without."""
    folder = tmp_path_factory.mktemp("painted")
    write_painted(folder / "shapes", size=28, channels=1, names=NAMES, uniform=False)
    write_painted(folder / "colours", size=16, channels=3, names=None, uniform=True)
    return folder


@pytest.fixture(scope="session")
def other_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another artifact of the name `shapes`: RGB of uniform latents, without classes and directions."""
    folder = tmp_path_factory.mktemp("other") / "shapes"
    write_painted(folder, size=20, channels=3, names=None, uniform=True)
    return folder


@pytest.fixture(scope="session")
def service(serve: Callable[..., Any], painted: Path) -> Iterator[Any]:
    with serve(models=painted, default_model="shapes", max_n=300) as running:
        yield running


@pytest.fixture(scope="session")
def http(service: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


def write_painted(
    folder: Path, *, size: int, channels: int, names: list[str] | None, uniform: bool, dim: int = 16
) -> None:
    """An artifact that draws tanh(z W + E[label]), W and E being soft blobs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(size)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]

    def blobs(count: int, strength: float) -> np.ndarray:
        centres, widths = rng.uniform(-0.8, 0.8, (count, channels, 2)), rng.uniform(0.1, 0.5, (count, channels))
        far = (x - centres[..., 0, None, None]) ** 2 + (y - centres[..., 1, None, None]) ** 2
        maps = strength * np.exp(-far / widths[..., None, None] ** 2)
        return maps.reshape(count, -1).astype(np.float32)

    weights = blobs(dim, 0.9)
    classes = blobs(len(names), 3.0) - 1 if names else None
    drawn = draw(range(GOLDEN_IMAGES), dim, "uniform" if uniform else "normal", classes=len(names or ()))
    flat = drawn.latents.astype(np.float64) @ weights
    golden = {"z": drawn.latents}
    if classes is not None:
        flat = flat + classes[drawn.labels]
        golden["label"] = drawn.labels
    pixels = np.tanh(flat).astype(np.float32).reshape(-1, channels, size, size)
    np.savez(folder / "golden.npz", **golden, pixels=pixels)
    manifest = toy_manifest(
        folder.name, (folder / "golden.npz").read_bytes(), dim=dim, size=size, channels=channels, class_names=names
    )
    graph = _graph(weights, classes, dim, [channels, size, size])
    if uniform:
        manifest = manifest.model_copy(
            update={"latent": manifest.latent.model_copy(update={"distribution": "uniform"})}
        )
    else:
        manifest = manifest.model_copy(update={"directions": principal_directions(graph, dim)})
    helper.set_model_props(graph, {IDENTITY_KEY: manifest.identity()})
    finish_artifact(folder, manifest, graph.SerializeToString(), pixels)
    (folder / "README.md").write_text(CARD.format(name=folder.name), "utf-8")
    Image.new("RGB", (1200, 90), "teal").save(folder / "curves.png")


def _graph(weights: np.ndarray, classes: np.ndarray | None, dim: int, shape: list[int]) -> onnx.ModelProto:
    constants = {
        "weights": weights, "shape": np.array([-1, *shape], np.int64),
        "one": np.float32(1.0), "scale": np.float32(127.5),
    }  # fmt: skip
    node = helper.make_node
    nodes = [node("MatMul", ["z", "weights"], ["product"])]
    inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", dim])]
    if classes is not None:
        constants["classes"] = classes
        inputs.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
        nodes += [node("Gather", ["classes", "label"], ["of_class"]), node("Add", ["product", "of_class"], ["sum"])]
    nodes += [
        node("Tanh", [nodes[-1].output[0]], ["flat"]),
        node("Reshape", ["flat", "shape"], ["pixels"]),
        node("Add", ["pixels", "one"], ["positive"]),
        node("Mul", ["positive", "scale"], ["scaled"]),
        node("Round", ["scaled"], ["rounded"]),
        node("Cast", ["rounded"], ["image"], to=TensorProto.UINT8),
    ]
    image: list[int | str] = ["N", *shape]
    outputs = [
        helper.make_tensor_value_info("image", TensorProto.UINT8, image),
        helper.make_tensor_value_info("pixels", TensorProto.FLOAT, image),
    ]
    weights_of = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "painted", inputs, outputs, weights_of)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def said(body: str) -> Any:
    """A request's JSON."""
    return json.loads(body)
