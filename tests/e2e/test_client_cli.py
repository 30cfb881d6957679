"""`gan-client` against the real service: every command, and a service that dies in the middle of a data set."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

RunFn = Callable[..., subprocess.CompletedProcess[str]]
BIN = Path(sys.executable).parent
KEY = "a-key-of-the-tests"


@pytest.fixture(scope="module")
def service(serve, models: Path):
    with serve(models=models, default_model="digits", api_keys=KEY) as running:
        yield running


@pytest.fixture
def client(service, run_command: RunFn, tmp_path: Path) -> RunFn:
    """Run the command in `tmp_path`, with the service's URL and key in the environment."""
    return lambda *words: run_command(
        "gan-client", *words, cwd=tmp_path, env={"GAN_URL": service.url, "GAN_API_KEY": KEY}
    )


def test_files_are_those_that_the_service_makes(service, client: RunFn, tmp_path: Path) -> None:
    for name, media_type in (("x.png", "image/png"), ("x.webp", "image/webp"), ("x.jpg", "image/jpeg")):
        body = {"n": 9, "seed": 4, "label": 7, "format": media_type.partition("/")[2], "columns": 9, "quality": 80}
        if name == "x.png":
            del body["quality"]
        quality = [] if name == "x.png" else ["--quality", 80]
        done = client("sample", "--n", 9, "--seed", 4, "--label", 7, "--columns", 9, "--out", name, *quality)
        assert (done.returncode, done.stderr) == (0, "")
        expected = httpx.post(f"{service.url}/generate", json=body, headers={"Authorization": f"Bearer {KEY}"})
        assert (tmp_path / name).read_bytes() == expected.content
    done = client("sample", "--n", 9, "--seed", 4, "--label", 7, "--format", "npy")
    assert "9 images of 'digits', seeds 4-12 -> samples/seeds-4-12.npy" in done.stdout
    arrays = np.load(tmp_path / "samples" / "seeds-4-12.npy")
    assert arrays.shape == (9, 28, 28, 1)
    done = client("sample", "--n", 9, "--seed", 4, "--label", 7, "--out", "single", "--quiet")
    assert (done.stdout, done.returncode) == ("", 0)
    for path, array in zip(sorted((tmp_path / "single").glob("0*.png")), arrays, strict=True):
        with Image.open(path) as image:
            assert (np.asarray(image) == array[:, :, 0]).all()


def test_a_slash_at_the_end_of_out_makes_a_folder(client: RunFn, tmp_path: Path) -> None:
    for words in (("sample", "--format", "png", "--seed", 4), ("interpolate", "--seeds", "1,2"), ("show", "digits")):
        done = client(*words, "--out", "new/")
        assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "seed-4.png", "interpolation_seeds-1-2.gif", "preview.png",
    }  # fmt: skip


def test_latents_from_the_service_draw_the_seeds_images(service, client: RunFn, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{service.url}/latents", json={"seeds": [1, 5, 9]}, headers=headers)
    (tmp_path / "z.json").write_text(answer.text)
    assert client("sample", "--latents", "z.json", "--grid", "latents.png").returncode == 0
    assert client("sample", "--seeds", "1,5,9", "--grid", "seeds.png").returncode == 0
    assert (tmp_path / "latents.png").read_bytes() == (tmp_path / "seeds.png").read_bytes()


def test_interpolate(service, client: RunFn, tmp_path: Path) -> None:
    ask = ("interpolate", "--seeds", "1,5,9", "--label", 7, "--steps", 6)
    done = client(*ask, "--json")
    record = json.loads(done.stdout)
    assert (record["file"], record["frames"], record["seeds"]) == (
        "samples/interpolation_seeds-1-5-9.gif",
        13,
        [1, 5, 9],
    )
    with Image.open(tmp_path / record["file"]) as gif:
        assert (gif.n_frames, gif.size) == (13, (28, 28))
    assert client(*ask, "--loop", "--out", "way.webp").returncode == 0
    with Image.open(tmp_path / "way.webp") as webp:
        assert webp.n_frames == 18
    assert client(*ask, "--out", "way.npy").returncode == 0
    assert np.load(tmp_path / "way.npy").shape == (13, 28, 28, 1)
    piped = subprocess.run(
        [BIN / "gan-client", *map(str, ask), "--format", "png", "--columns", "13", "--out", "-"],
        env=os.environ | {"GAN_URL": service.url, "GAN_API_KEY": KEY}, capture_output=True, check=True,
    )  # fmt: skip
    with Image.open(io.BytesIO(piped.stdout)) as sheet:
        assert sheet.size == (13 * 30 + 2, 28 + 4)


def test_models_and_show(client: RunFn, tmp_path: Path) -> None:
    listed = client("models").stdout
    assert "digits (default)" in listed
    assert "colours" in listed
    done = client("show", "--out", "preview.png")
    assert done.returncode == 0, done.stderr
    for words in ("# digits", "fp32, CPUExecutionProvider", "12 of 12", "batch_invariant", "preview -> preview.png"):
        assert words in done.stdout
    with Image.open(tmp_path / "preview.png") as preview:
        assert preview.format == "PNG"
    record = json.loads(client("show", "colours", "--json").stdout)
    assert (record["name"], record["certificate"]["results"][0]["variant"]) == ("colours", "fp32")
    assert "# colours" in record["card"]
    done = client("show", "absent")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "'absent'" in done.stderr


def test_a_wrong_key_is_one_line(service, run_command: RunFn, tmp_path: Path) -> None:
    for command in (["sample"], ["interpolate"], ["dataset", "--out", "d", "--n", "9"], ["models"], ["show"]):
        done = run_command("gan-client", *command, "--url", service.url, "--api-key", "wrong", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 1
        assert "API key" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_the_service_refuses_is_told_with_what_to_do(service, client: RunFn, tmp_path: Path) -> None:
    done = client("sample", "--n", 5000)
    assert (done.returncode, done.stdout) == (2, "")
    assert "at most 4096 images. Use client.stream() or `gan-client dataset` for more" in done.stderr
    for command in (["sample"], ["models"], ["health"]):
        done = client("--url", f"{service.url}/ui", *command)  # as copied from the browser
        assert (done.returncode, done.stdout) == (1, "")
        assert f"given as {service.url}/ui, leave its path /ui out" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_data_set_is_what_generate_draws_and_can_be_trained_on(
    client: RunFn, run_command: RunFn, tmp_path: Path
) -> None:
    done = client("dataset", "--out", "d.npz", "--each", 30, "--labels", "3,7", "--seed", 11)
    assert done.returncode == 0, done.stderr
    assert client("sample", "--n", 60, "--labels", "3,7", "--seed", 11, "--out", "same").returncode == 0
    with np.load(tmp_path / "d.npz") as arrays:
        assert arrays["labels"].tolist() == [0, 1] * 30
        for image, path in zip(arrays["images"], sorted((tmp_path / "same").glob("0*.png")), strict=True):
            with Image.open(path) as expected:
                assert (image[:, :, 0] == np.asarray(expected)).all()
    done = run_command("gan-train", "--type", "cgan", "--data", "npz:d.npz", "--out", "run", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_service_that_dies_is_one_line_and_another_goes_on(
    serve, models: Path, client: RunFn, tmp_path: Path
) -> None:
    ask = ("dataset", "--out", "d", "--format", "webdataset", "--n", 6000, "--seed", 2, "--shard-size", 2500)
    with serve(models=models, default_model="digits") as dying:
        process = subprocess.Popen(
            [BIN / "gan-client", *map(str, ask), "--retries", "0", "--url", dying.url],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not (tmp_path / "d" / "labels.csv").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        for pid in dying.pids():
            os.kill(pid, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(("gan-client: the connection to", "gan-client: no connection to"))
    assert "run the same command to continue with d" in err
    assert len((tmp_path / "d" / "labels.csv").read_text().splitlines()) <= 6000
    assert client(*ask).returncode == 0
    assert client(*ask[:2], "whole", *ask[3:]).returncode == 0
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "d").iterdir())
    for name in names:
        assert (tmp_path / "d" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
