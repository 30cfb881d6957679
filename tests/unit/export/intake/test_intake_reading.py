"""Files that people have: what is read is what was saved, to the bit."""

import argparse
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gan_export.intake import check_finite, read_contents
from gan_export.refusal import IntakeError
from gan_training.config import TrainConfig
from gan_training.data import ImageData
from gan_training.runs.run import Run

WORDS = (2).to_bytes(8, "little") + np.array([1, 2], np.float32).tobytes()
CHANGES = "import torch; open('ran', 'w')"


def weights() -> OrderedDict[str, torch.Tensor]:
    """Every kind of tensor that a state dict has."""
    torch.manual_seed(0)
    matrix = torch.randn(3, 4)
    state = OrderedDict(
        matrix=matrix,
        transposed=matrix.t(),
        row=matrix[1],
        columns=matrix[:, ::2],
        parameter=torch.nn.Parameter(torch.randn(2, 3, 4, 4)),
        scalar=torch.tensor(7),
        empty=torch.empty(0, 3),
        expanded=torch.tensor([0.5]).expand(4),
        special=torch.tensor([float("nan"), float("inf"), -0.0]),
        flags=torch.tensor([True, False]),
        state=torch.arange(256).to(torch.uint8),
    )
    state.update(
        {
            f"{dtype}": torch.randint(-99, 99, (5,)).to(dtype)
            for dtype in (
                torch.float64,
                torch.float16,
                torch.bfloat16,
                torch.int8,
                torch.int16,
                torch.int32,
                torch.int64,
            )
        }
    )
    state._metadata = OrderedDict({"": {"version": 1}})
    return state


def checkpoint() -> dict[str, object]:
    """What public training scripts put around a state dict."""
    state = weights()
    return {
        "netG": state,
        "again": state["matrix"],
        "epoch": 12,
        "seed": -(2**70),
        "args": argparse.Namespace(lr=2e-4, device=torch.device("cuda:0"), betas=(0.5, 0.999), dtype=torch.float16),
        "best": np.float64(1.5),
        "count": np.int64(-3),
        "ratio": np.float32(0.25),
        "done": np.bool_(True),
        "size": torch.Size([2, 3]),
        "steps": Counter({3: 1}),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"params": [0], "lr": 0.1}]},
        "nothing": None,
        "names": ["Dürer", "a\nb"],
    }


PLAIN = {
    "epoch": 12,
    "seed": -(2**70),
    "args": {"lr": 2e-4, "device": "cuda:0", "betas": [0.5, 0.999], "dtype": "torch.float16"},
    "best": 1.5,
    "count": -3,
    "ratio": 0.25,
    "done": True,
    "size": [2, 3],
    "steps": {"3": 1},
    "nothing": None,
    "names": ["Dürer", "a\nb"],
}


def assert_same(found: dict[str, object], wanted: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert found[name].device.type == "cpu", name
        bits = [
            t.detach().contiguous().reshape(-1).view(torch.uint8).tolist() for t in (found[name], tensor) if t.numel()
        ]
        assert bits[:1] == bits[1:], name


def assert_checkpoint(tree: dict[str, object]) -> None:
    assert_same(tree["netG"], weights())
    assert tree["again"] is tree["netG"]["matrix"]
    assert tree["optimizer"]["state"]["0"]["step"] == 3
    assert tree["optimizer"]["param_groups"] == [{"params": [0], "lr": 0.1}]
    assert {key: tree[key] for key in PLAIN} == PLAIN


def test_a_checkpoint_is_read_whole_whatever_the_environment_and_the_folder_hold(tmp_path, scratch, monkeypatch):
    path = tmp_path / "weights.pt"
    torch.save(checkpoint(), path)
    for name in ("torch.py", "numpy.py", "safetensors.py"):
        (tmp_path / name).write_text(CHANGES)
    monkeypatch.chdir(tmp_path)
    # Together these two make torch.load fail.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    contents = read_contents(path)
    path.write_bytes(bytes(path.stat().st_size))  # the tensors are no longer the file's
    assert contents.format == "zip"
    assert_checkpoint(contents.tree)
    assert not (tmp_path / "ran").exists()
    assert not [*scratch.iterdir()]


def test_the_format_before_1_6_is_read_and_cuda_tensors_come_to_the_cpu(tmp_path, scratch):
    path = tmp_path / "weights.pth"
    torch.save(checkpoint(), path, _use_new_zipfile_serialization=False)
    on_gpu = path.read_bytes().replace(b"X\x03\x00\x00\x00cpuq", b"X\x06\x00\x00\x00cuda:0q")
    assert b"cuda:0q" in on_gpu
    path.write_bytes(on_gpu)
    contents = read_contents(path)
    assert contents.format == "legacy"
    assert_checkpoint(contents.tree)
    assert not [*scratch.iterdir()]


def test_cuda_tensors_of_an_archive_come_to_the_cpu(write_zip, pickled, declare):
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    state = {"w": declare((2, 2), (1, 2), 4, location="cuda:3"), "none": {}}
    contents = read_contents(write_zip(pickled(state), {"0": values.numpy().tobytes()}))
    assert contents.tree["none"] == {}
    assert torch.equal(contents.tree["w"], values.t())


def test_a_file_of_python_2_is_read(write_legacy):
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x011U\x03cpuK\x02NtQ"
    rebuilt = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00K\x02\x85K\x01\x85tR"
    state = b"\x80\x02ccollections\nOrderedDict\n](](U\x01w" + rebuilt + b"ee\x85R."
    path = write_legacy(state, ("1",), WORDS)
    assert read_contents(path).tree["w"].tolist() == [1.0, 2.0]


def test_a_safetensors_file_is_read(tmp_path, scratch):
    path = tmp_path / "weights.safetensors"
    state = {name: tensor.detach().clone().contiguous() for name, tensor in weights().items()}
    save_file(state, path, {"format": "pt"})
    contents = read_contents(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert contents.format == "safetensors"
    assert_same(dict(sorted(contents.tree.items())), dict(sorted(state.items())))
    assert not [*scratch.iterdir()]


def test_a_checkpoint_of_ours_is_read_whole(tmp_path):
    images = torch.randint(0, 256, (24, 1, 16, 16)).to(torch.uint8)
    data = ImageData(images, torch.arange(24) % 3, ("a", "b", "c"), "toy")
    small = {"steps": 2, "batch_size": 8, "latent_dim": 6, "generator_width": 6, "critic_width": 6, "embed_dim": 4}
    settings = {"log_every": 1, "report": False, "precision": "fp32", "device": "cpu"}
    Run(TrainConfig.for_type("acgan", "toy", **small, **settings), tmp_path, data).train(lambda _: None)
    path = tmp_path / "ckpt.pt"
    wanted = torch.load(path, weights_only=True)
    tree = read_contents(path).tree
    assert list(tree) == list(wanted)
    assert tree["history"] == wanted["history"]
    assert tree["config"] == {k: [*v] if isinstance(v, tuple) else v for k, v in wanted["config"].items()}
    for net in ("ema", "generator", "critic"):
        assert_same(tree["trainer"][net], wanted["trainer"][net])


def test_finite_check_names_the_first_bad_tensor():
    state = {"good": torch.ones(2), "count": torch.tensor(3), "bad\n": torch.tensor([0.0, float("nan")])}
    with pytest.raises(IntakeError, match=r"^bad\\n holds NaN"):
        check_finite(state)
    state["bad\n"] = torch.zeros(2)
    check_finite(state)
    with pytest.raises(IntakeError, match="infinite"):
        check_finite({"w": torch.tensor(float("-inf"), dtype=torch.bfloat16)})
