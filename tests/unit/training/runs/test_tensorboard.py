"""Events as TensorBoard itself reads them from the files."""

import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PageAccumulator
from tensorboard.util import tensor_util

from gan_training.checkpoint import CheckpointError
from gan_training.config import ConfigError
from gan_training.runs.tensorboard import EventWriter

LINE = {
    "step": 20,
    "seconds": 1.5,
    "critic_loss": 0.5,
    "r1": 0.25,
    "real_accuracy": 0.75,
    "real_class_accuracy": 0.5,
    "diversity": 0.5,
    "eval_recall": 0.25,
    "images_per_second": 400,
    "photon_flux": math.nan,
}
TAGS = {
    "loss/critic_loss",
    "loss/r1",
    "accuracy/real_accuracy",
    "accuracy/real_class_accuracy",
    "watch/diversity",
    "evaluation/eval_recall",
    "speed/images_per_second",
    "other/photon_flux",
}


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    events.Reload()
    return events


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def texts(folder: Path, tag: str) -> list[tuple[int, str]]:
    """Texts as TensorBoard's page gets them."""
    events = PageAccumulator(str(folder), tensor_size_guidance={"text": 0})
    events.Reload()
    return [
        (event.step, tensor_util.make_ndarray(event.tensor_proto).item().decode())
        for event in events.Tensors(f"{tag}/text_summary")
    ]


def write_losses(folder: Path, steps: range, value: float, resumed_at: int | None = None) -> None:
    writer = EventWriter(folder, resumed_at)
    for step in steps:
        writer.scalars(step, {"critic_loss": value})
        writer.alarm(step, "collapse", f"at {value}")
    writer.close()


def test_measures_are_grouped(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "new" / "events")
    writer.scalars(20, LINE)
    writer.close()
    folder = tmp_path / "new" / "events"
    assert set(read(folder).Tags()["scalars"]) == TAGS
    assert scalars(folder, "loss/critic_loss") == [(20, 0.5)]
    assert math.isnan(scalars(folder, "other/photon_flux")[0][1])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_come_back_pixel_by_pixel(tmp_path: Path, mode: str) -> None:
    shape = (6, 10) if mode == "L" else (6, 10, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    writer = EventWriter(tmp_path)
    writer.picture(50, Image.fromarray(pixels))
    writer.close()
    (event,) = read(tmp_path).Images("samples")
    shown = Image.open(io.BytesIO(event.encoded_image_string)).convert(mode)
    assert event.step == 50
    np.testing.assert_array_equal(np.asarray(shown), pixels)


def test_alarms_and_configuration_are_text_that_markdown_leaves_alone(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    writer.config({"type": "cgan", "data": "folder:a|b_*"})
    writer.alarm(80, "collapse", "recall\n<b>fell</b>")
    writer.close()
    assert texts(tmp_path, "alarm/collapse") == [(80, r"recall \<b\>fell\</b\>")]
    ((step, table),) = texts(tmp_path, "config")
    assert step == 0
    assert table.splitlines() == ["| setting | value |", "|---|---|", "| type | cgan |", r"| data | folder:a\|b\_\* |"]


def test_steps_done_again_after_a_resume_are_shown_once(tmp_path: Path) -> None:
    write_losses(tmp_path, range(1, 6), 1.0)
    write_losses(tmp_path, range(4, 8), 2.0, resumed_at=3)
    expected = [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0), (7, 2.0)]
    assert scalars(tmp_path, "loss/critic_loss") == expected
    assert texts(tmp_path, "alarm/collapse") == [(step, f"at {value}") for step, value in expected]


def test_a_fresh_run_hides_the_one_before_it(tmp_path: Path) -> None:
    write_losses(tmp_path, range(9), 1.0)
    write_losses(tmp_path, range(5, 7), 2.0)
    assert scalars(tmp_path, "loss/critic_loss") == [(5, 2.0), (6, 2.0)]


@pytest.mark.slow
def test_flushed_events_outlive_the_process(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from gan_training.runs.tensorboard import EventWriter\n"
        "writer = EventWriter(Path(sys.argv[1])); writer.scalars(7, {'critic_loss': 2.5}); writer.flush(); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=120)
    assert done.returncode == 9
    assert scalars(tmp_path, "loss/critic_loss") == [(7, 2.5)]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("a file")
    with pytest.raises(CheckpointError, match=r"events: can't write there: \w"):
        EventWriter(tmp_path / "events")


def test_a_full_disk_is_one_line_and_no_traceback_of_a_thread(tmp_path: Path) -> None:
    program = (
        "import resource, sys, threading; from pathlib import Path\n"
        "from gan_training.checkpoint import CheckpointError\n"
        "from gan_training.runs.tensorboard import EventWriter; writer = EventWriter(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try:\n  for step in range(100): writer.scalars(step, {'critic_loss': 2.5}); writer.flush()\n"
        "except CheckpointError as error: print(error)\n"
        "try: writer.close()\n"
        "except CheckpointError: pass\n"
        "other = threading.Thread(target=lambda: open('/none')); other.start(); other.join()"
    )
    command = [sys.executable, "-B", "-W", "ignore", "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == f"{tmp_path}: can't write there: File too large\n"
    assert done.stderr.count("Traceback") == 1  # of the other thread alone
    assert "No such file or directory: '/none'" in done.stderr


def test_without_the_package_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # Python's own way to say that a package is not there
    with pytest.raises(ConfigError, match=r"pip install 'ganworks\[tensorboard\]'"):
        EventWriter(tmp_path / "events")
    assert not (tmp_path / "events").exists()
