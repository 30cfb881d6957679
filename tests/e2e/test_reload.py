"""Artifacts that come, change, break and go under a running service that is asked all the time."""

import concurrent.futures
import contextlib
import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from toy_artifact import SIZE, images_of, put_in_place, write_artifact
from waiting import until

from gan_client import GanClient, errors

pytestmark = pytest.mark.slow

CALLERS = 3
SEEDS = [11, 12, 13]
STORE = """
import sys
from pathlib import Path
from gan_export.artifact import load_artifact
from gan_export.store import put_into_store
print(put_into_store(load_artifact(Path(sys.argv[1]))))
"""


@dataclass
class Answers:
    """What callers got who ask without a pause."""

    images: list[tuple[str, bytes]] = field(default_factory=list)  # model and pixels, in the order of arrival
    faults: list[str] = field(default_factory=list)

    def seen(self, model: str) -> set[bytes]:
        return {pixels for name, pixels in list(self.images) if name == model}


@contextlib.contextmanager
def steady_load(url: str, models: list[str]) -> Iterator[Answers]:
    """Callers that ask for the same seeds of these generators again and again, and whose every call must succeed."""
    answers, over = Answers(), threading.Event()

    def ask(first: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            turn = first
            while not over.is_set():
                model = models[turn % len(models)]
                turn += 1
                try:
                    response = client.post("/generate", json={"model": model, "seeds": SEEDS, "format": "npy"})
                except httpx.HTTPError as error:
                    answers.faults.append(repr(error))
                    continue
                if response.status_code == 200:
                    answers.images.append((model, np.load(io.BytesIO(response.content)).tobytes()))
                else:
                    answers.faults.append(response.text)

    with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(ask, i) for i in range(CALLERS)]
        try:
            yield answers
        finally:
            over.set()
    for caller in callers:
        caller.result()


def pixels_of(folder: Path) -> bytes:
    """As the npy format has them: (n, 8, 8, 1)."""
    images = images_of(folder, SEEDS)
    assert images.shape == (len(SEEDS), SIZE, SIZE)
    return bytes(images.tobytes())


def test_no_call_fails_while_artifacts_come_change_break_and_go(serve, tmp_path: Path) -> None:
    workers = 2
    folder = tmp_path / "models"
    versions = {i: write_artifact(tmp_path / f"v{i}", i, name="faces") for i in (1, 2, 3)}
    pixels = {i: pixels_of(version) for i, version in versions.items()}

    def put(name: str, version: int, **how: object) -> None:
        put_in_place(write_artifact(folder / ".making", version, **({"name": name} | how)), folder / name)

    folder.mkdir()
    put("faces", 1)
    put("stays", 7)
    stays = pixels_of(folder / "stays")
    with serve(models=folder, reload_seconds=0.2, workers=workers) as service, httpx.Client(timeout=30) as http:

        def shown(name: str) -> dict[str, object] | None:
            # A connection each: the kernel hands connections, not requests, to the workers.
            models = httpx.get(f"{service.url}/models", timeout=30).json()["models"]
            return next((model for model in models if model["name"] == name), None)

        def everywhere(condition: Callable[[], object]) -> Callable[[], bool]:
            return lambda: all(condition() for _ in range(20))

        # The service is ready when its first worker is; the others must not find the broken version at their start.
        until(lambda: service.log.read_text().count("generator faces loaded") == workers, "all workers are ready")
        with steady_load(service.url, ["faces", "stays"]) as answers:
            until(lambda: answers.seen("faces") and answers.seen("stays"), "first answers")
            put("faces", 2)
            until(lambda: pixels[2] in answers.seen("faces"), "the second version")

            put("faces", 3, forged=True)
            until(everywhere(lambda: (shown("faces") or {})["reason"]), "the broken version is noticed")
            assert str((shown("faces") or {})["reason"]).startswith("[tolerance] faces: ")

            put("new", 4)
            until(everywhere(lambda: shown("new")), "the new one")
            answer = http.post(f"{service.url}/generate", json={"model": "new", "seeds": SEEDS, "format": "npy"})
            assert np.load(io.BytesIO(answer.content)).tobytes() == pixels_of(folder / "new")

            put("faces", 3)
            report = http.post(f"{service.url}/models/reload")
            assert report.status_code == 200
            assert report.json()["failed"] == {}
            until(lambda: pixels[3] in answers.seen("faces"), "the third version")
            until(everywhere(lambda: (shown("faces") or {"reason": 1})["reason"] is None), "all is well")

            shutil.rmtree(folder / "new")
            until(everywhere(lambda: shown("new") is None), "the removed one is unloaded")
            gone = http.post(f"{service.url}/generate", json={"model": "new"})
            assert (gone.status_code, gone.json()["error"]["code"]) == (404, "unknown_model")

            shutil.rmtree(folder)
            count = len(answers.images)
            until(lambda: "goes on being served" in service.log.read_text(), "the folder is missed")
            until(lambda: len(answers.images) > count + 4 * CALLERS, "answers from memory")
        assert answers.faults == []
        assert answers.seen("stays") == {stays}
        assert answers.seen("faces") == set(pixels.values()), "an image of the broken version, or a mixed one"
        log = service.log.read_text()
        broken = [line for line in log.splitlines() if f"[tolerance] {folder / 'faces'}: failed the gate" in line]
        assert len(broken) == workers
        assert "Traceback" not in log


def test_a_stream_does_not_mix_the_images_of_two_versions(serve, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    write_artifact(folder / "faces", 1)
    with serve(models=folder, reload_seconds=0.1) as service, GanClient(service.url, timeout=30) as client:
        stream = client.stream(40, seed=0, chunk=10, ahead=1)
        images = [next(stream) for _ in range(10)]
        old = client.models.get("faces").artifact
        put_in_place(write_artifact(folder / ".making", 2, name="faces"), folder / "faces")
        until(lambda: client.models.get("faces").artifact != old, "the second version")
        with pytest.raises(errors.UnexpectedResponseError, match="another version of 'faces' now") as caught:
            images.extend(stream)
        assert stream.done == 20, "the second chunk was under way"
        assert caught.value.__notes__ == ["20 of 40 images came; the next one's seed is 20"]


@pytest.mark.parametrize("reload_seconds", [0, 3600])
def test_what_one_worker_was_told_holds_for_all(serve, tmp_path: Path, reload_seconds: int) -> None:
    workers = 2
    folder = tmp_path / "models"
    for name in ("faces", "stays"):
        write_artifact(folder / name)
    with serve(models=folder, reload_seconds=reload_seconds, workers=workers) as service:

        def until_all_tell(what: str, times: int = 1) -> None:
            until(lambda: service.log.read_text().count(what) == workers * times, f"{what} in all workers")

        def statuses() -> set[int]:
            ask = {"model": "faces"}
            return {httpx.post(f"{service.url}/generate", json=ask, timeout=30).status_code for _ in range(20)}

        until_all_tell("generator stays loaded")
        assert statuses() == {200}
        done = httpx.post(f"{service.url}/v2/repository/models/faces/unload", timeout=30)
        assert done.status_code == 200, done.text
        until_all_tell("generator faces unloaded")
        assert statuses() == {404}
        done = httpx.post(f"{service.url}/v2/repository/models/faces/load", timeout=30)
        assert done.status_code == 200, done.text
        until_all_tell("generator faces loaded", 2)
        assert statuses() == {200}
        write_artifact(folder / "new")
        assert httpx.post(f"{service.url}/models/reload", timeout=30).json()["loaded"] == ["new"]
        until_all_tell("generator new loaded")


@pytest.mark.parametrize("path", ["/models/reload", "/v2/repository/models/new/load"])
def test_what_was_asked_for_is_loaded_though_its_caller_waits_no_longer(serve, tmp_path: Path, path: str) -> None:
    write_artifact(tmp_path / "models" / "stays")
    with serve(models=tmp_path / "models", reload_seconds=0) as service:
        write_artifact(tmp_path / "models" / "new", 1)
        late = httpx.post(service.url + path, headers={"X-Request-Timeout": "0.001"}, timeout=30)
        assert late.status_code == 504
        until(lambda: httpx.get(f"{service.url}/models/new", timeout=30).status_code == 200, "it is loaded")


def test_a_tag_of_the_model_store_is_served_and_followed(serve, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()

    def store(version: int) -> bytes:
        made = write_artifact(tmp_path / f"v{version}", version, name="Stored")
        environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
        subprocess.run([sys.executable, "-c", STORE, made], env=environment, check=True, capture_output=True)
        return pixels_of(made)

    def drawn(url: str) -> bytes:
        answer = httpx.post(f"{url}/generate", json={"model": "Stored", "seeds": SEEDS, "format": "npy"}, timeout=30)
        return bytes(np.load(io.BytesIO(answer.content)).tobytes())

    write_artifact(tmp_path / "models" / "other")
    first = store(1)
    with serve(models=f"bento:stored:{tmp_path / 'models'}", reload_seconds=0.2, home=home) as service:
        assert drawn(service.url) == first
        listed = httpx.get(f"{service.url}/models", timeout=30).json()["models"]
        assert [model["name"] for model in listed] == ["Stored", "other"]
        second = store(2)
        until(lambda: drawn(service.url) == second, "the newest version of the tag")


def test_a_tag_that_is_not_in_the_store_is_one_line(
    tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    env = {"GAN_MODELS": "bento:nobody:v1", "BENTOML_HOME": str(tmp_path)}
    done = run_command("bentoml", "serve", "--port", "0", cwd=Path(__file__).parents[2], env=env)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("bentoml serve: bento:nobody:v1 is not in BentoML's model store (")
