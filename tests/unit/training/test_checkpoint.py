"""Checkpoints: whole or not there at all, and files of every other kind refused in one line."""

import io
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from gan_training.checkpoint import CheckpointError, load_checkpoint
from gan_training.data import DataError
from gan_training.runs.run import Run


def refused(path: Path) -> str:
    """The message with which `path` is refused, after its name."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_it_reads_as_data_and_carries_all_that_rebuilds_the_nets(ckpt):
    content = torch.load(ckpt, weights_only=True)
    assert (content["format"], content["version"]) == ("ganworks.checkpoint", 1)
    checkpoint = load_checkpoint(ckpt)
    assert checkpoint.step == 4
    assert checkpoint.class_names == tuple(f"class {i}" for i in range(5))
    assert [line["step"] for line in checkpoint.history] == [1, 2, 3, 4]
    assert (checkpoint.config.type, checkpoint.config.batch_size) == ("cgan", 8)
    assert checkpoint.generator_spec.classes == checkpoint.critic_spec.classes == 5
    assert checkpoint.seconds > 0


def test_generator_has_the_averaged_or_its_own_weights_in_eval_mode(ckpt):
    content, checkpoint = torch.load(ckpt, weights_only=True), load_checkpoint(ckpt)
    for asked, key in (("ema", "ema"), ("raw", "generator")):
        net = checkpoint.generator(asked)
        assert not net.training
        assert all(torch.equal(value, content["trainer"][key][name]) for name, value in net.state_dict().items())
    z, labels = torch.randn(2, 6), torch.tensor([0, 4])
    assert torch.equal(checkpoint.generator()(z, labels), checkpoint.generator("ema")(z, labels))
    assert not torch.equal(checkpoint.generator("ema")(z, labels), checkpoint.generator("raw")(z, labels))


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"step 1000, loss 0.3\n",
        b"hello",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        pickle.dumps({"format": "ganworks.checkpoint"}),
        bytes(5000),
        zipped(),
        zipped(readme=b"a zip of something else"),
        zipped(**{"ckpt/data.pkl": b"step 1000", "ckpt/version": b"3\n"}),
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path, content):
    path = tmp_path / "ckpt.pt"
    path.write_bytes(content)
    assert "is not a checkpoint" in refused(path)


def test_a_missing_file_a_folder_and_a_dead_link_are_refused(tmp_path):
    assert refused(tmp_path / "none.pt") == "no such file"
    assert refused(tmp_path) == "is not a file"
    (tmp_path / "link.pt").symlink_to(tmp_path / "none.pt")
    assert refused(tmp_path / "link.pt") == "no such file"


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_refused(ckpt, share):
    whole = ckpt.read_bytes()
    ckpt.write_bytes(whole[: int(len(whole) * share)])
    assert "is not a checkpoint of gan-train, or is cut off" in refused(ckpt)


class Bomb:
    """Unpickled without restraint, it would create a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("pickle", "is not a checkpoint"),
        ("torch-legacy", "is not a checkpoint"),
        ("torch", "is damaged, or holds more than tensors and plain values"),
        ("inside", "is damaged, or holds more than tensors and plain values"),
    ],
)
def test_a_pickle_that_runs_code_is_refused_and_not_run(ckpt, tmp_path, how, words):
    marker, path = tmp_path / "ran", tmp_path / "bomb.pt"
    bomb = Bomb(marker)
    if how == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    elif how == "inside":
        torch.save(torch.load(ckpt, weights_only=True) | {"history": [bomb]}, path)
    else:
        torch.save({"format": bomb}, path, _use_new_zipfile_serialization=how == "torch")
    assert words in refused(path)
    assert not marker.exists()
    with path.open("rb") as file:
        pickle.load(file) if how == "pickle" else torch.load(file, weights_only=False)
    assert marker.exists()  # the bomb was live


@pytest.mark.parametrize(
    "content",
    [
        {"generator.0.weight": torch.zeros(3, 3)},
        {"model": {"w": torch.zeros(2)}, "epoch": 3},
        {"format": "other.checkpoint", "version": 1},
        {"format": torch.zeros(2), "version": torch.zeros(2)},
        [torch.zeros(3)],
        torch.zeros(3),
        "weights",
        None,
    ],
)
def test_another_projects_file_is_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    assert refused(path) == "is not a checkpoint of gan-train (no 'ganworks.checkpoint' mark in it)"


def put(*keys: str | int, value: object):
    """An edit that sets content[keys[0]][keys[1]]... to `value`."""

    def edit(content: dict) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return edit


def drop(*keys: str | int):
    def edit(content: dict) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (put("version", value=2), "checkpoint version 2; this ganworks reads 1"),
        (put("version", value=0), "checkpoint version 0; this ganworks reads 1"),
        (put("version", value=None), "checkpoint version None"),
        (put("version", value=torch.ones(2)), "checkpoint version"),
        (drop("trainer"), "damaged: 'trainer'"),
        (drop("batches"), "damaged: 'batches'"),
        (drop("config"), "damaged: 'config'"),
        (put("config", value=None), "damaged"),
        (put("config", "steps", value=0), "damaged: steps is 0"),
        (put("config", "colour", value=1), "damaged: unknown settings: colour"),
        (put("generator_spec", value=[]), "damaged"),
        (put("generator_spec", "image_size", value=30), "damaged: image size 30"),
        (put("generator_spec", "channels", value=2), "damaged: channels is 2"),
        (put("generator_spec", "width", value=-1), "damaged: width is -1"),
        (put("generator_spec", "width", value=7), "damaged: project.weight of its ema weights has shape (1"),
        (put("generator_spec", "latent_dim", value=99), "damaged: project.weight of its ema weights has shape"),
        (put("generator_spec", "classes", value="five"), "damaged"),
        (put("generator_spec", "upsample", value="nearest"), "damaged"),
        (drop("generator_spec", "slope"), "damaged: GeneratorSpec has the fields"),
        (put("critic_spec", "norm", value="layer"), "damaged: norm is 'layer'"),
        (put("critic_spec", "width", value=9), "damaged: blocks.0.weight of its critic weights has shape"),
        (put("class_names", value=["a", "b"]), "damaged: 2 class names for 5 classes"),
        (put("class_names", value=3), "damaged"),
        (put("trainer", value=[]), "damaged"),
        (put("trainer", "ema", value=3), "damaged"),
        (put("trainer", "generator", value={}), "damaged: its generator weights have no embed.weight"),
        (put("trainer", "critic", "score.weight", value=torch.zeros(1, 1)), "damaged"),
        (put("trainer", "ema", "project.weight", value="zeros"), "damaged: a state dict holds something"),
        (drop("trainer", "ema", "project.weight"), "damaged: its ema weights have no project.weight"),
        (put("seconds", value="long"), "damaged"),
        (put("history", value=[7]), "damaged: its history holds something"),
        (put("history", value=[{"seconds": 1.0}]), "damaged: its history holds something"),
        (put("data_at", value=3), "damaged: the place of its data is not text"),
    ],
)
def test_a_tampered_checkpoint_is_refused(ckpt, edit, words):
    content = torch.load(ckpt, weights_only=True)
    edit(content)
    torch.save(content, ckpt)
    assert words in refused(ckpt)


def test_class_names_of_an_older_checkpoint_are_composed(ckpt):
    content = torch.load(ckpt, weights_only=True)
    content["class_names"][0] = "A\u0308pfel"
    torch.save(content, ckpt)
    assert load_checkpoint(ckpt).class_names[0] == "\u00c4pfel"


@pytest.mark.parametrize(
    "edit",
    [
        put("trainer", "rng", value=torch.zeros(3, dtype=torch.uint8)),
        put("trainer", "rng", value="x"),
        put("trainer", "critic_optimizer", value={}),
        put("trainer", "critic_optimizer", "state", value={}),
        drop("trainer", "generator_optimizer", "state", 0),
        put("trainer", "generator_optimizer", "param_groups", value=[]),
        put("trainer", "generator_optimizer", "state", 0, "exp_avg", value=torch.zeros(1)),  # SIGSEGV at the next step
        put("trainer", "critic_optimizer", "state", 0, "exp_avg_sq", value=[0.0]),
        drop("trainer", "critic_optimizer", "state", 0, "exp_avg_sq"),
        drop("trainer", "torch_rng"),
        put("trainer", "steps_done", value="four"),
        put("batches", value={"epoch": 0, "position": 3}),
        put("batches", value={}),
        put("history", value=7),
        put("history", value=[{"step": "four"}]),
    ],
)
def test_what_only_training_needs_is_checked_on_resume(ckpt, toy_data, edit):
    content = torch.load(ckpt, weights_only=True)
    edit(content)
    torch.save(content, ckpt)

    def resume() -> None:
        checkpoint = load_checkpoint(ckpt)
        Run(checkpoint.config, ckpt.parent, toy_data(), checkpoint)

    with pytest.raises((CheckpointError, DataError)) as caught:
        resume()
    assert "\n" not in str(caught.value)


LOAD_BOUNDED = """
import resource, sys
from pathlib import Path
from gan_training.checkpoint import CheckpointError, load_checkpoint, save_durably
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
try:
    load_checkpoint(Path(sys.argv[1]))
except CheckpointError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("spec", "name", "value", "reason"),
    [
        (
            "generator_spec",
            "latent_dim",
            2_000_000,
            r"project.weight of its ema weights has shape \(.*\), not \(.*20000..",
        ),
        ("generator_spec", "latent_dim", 10**25, "the checkpoint is damaged: "),
        (
            "generator_spec",
            "mapping_layers",
            10**12,
            r"mapping_layers is 1,000,000,000,000, and its ema weights have \d+ ",
        ),
        ("generator_spec", "mapping_layers", 1, r"its ema weights have no mapping\.0\.weight"),
        ("critic_spec", "hidden", 10**8, r"its critic weights have no hidden\.weight"),
    ],
)
def test_a_spec_of_more_than_the_weights_is_refused_before_its_net_is_made(ckpt, spec, name, value, reason):
    content = torch.load(ckpt, weights_only=True)
    content[spec][name] = value
    torch.save(content, ckpt)
    done = subprocess.run([sys.executable, "-c", LOAD_BOUNDED, ckpt], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(f"{ckpt}: the checkpoint is damaged: "), done.stderr
    assert re.search(reason, done.stdout)


def test_weights_that_no_net_of_the_spec_has_are_named(ckpt):
    content = torch.load(ckpt, weights_only=True)
    content["trainer"]["generator"]["more"] = torch.ones(2)
    torch.save(content, ckpt)
    assert refused(ckpt) == "the checkpoint is damaged: its generator weights have 'more', which the net doesn't"
