"""How a checkpoint is saved: whole, checked by its sums, and on disk before training goes on."""

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from gan_training.checkpoint import CheckpointError, load_checkpoint, save_durably

SAVE_AGAIN = """
import resource, sys
from pathlib import Path
from gan_training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
path, limit = Path(sys.argv[1]), int(sys.argv[2])
checkpoint = load_checkpoint(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    save_checkpoint(checkpoint, path)
except CheckpointError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_save_that_hits_the_end_of_the_disk_leaves_the_old_file(ckpt, share):
    before = ckpt.read_bytes()
    limit = int(len(before) * share)
    done = subprocess.run(
        [sys.executable, "-B", "-c", SAVE_AGAIN, ckpt, str(limit)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"{ckpt}: can't be written: {os.strerror(errno.EFBIG)}\n"
    assert ckpt.read_bytes() == before
    assert [entry.name for entry in ckpt.parent.iterdir() if entry.name.startswith(".")] == []
    load_checkpoint(ckpt)


def test_a_save_into_a_folder_that_is_gone_says_so(make_run, tmp_path):
    run = make_run("dcgan", tmp_path / "gone")
    with pytest.raises(CheckpointError, match="can't be written"):
        run._save()
    assert not (tmp_path / "gone").exists()


def test_bytes_changed_inside_a_tensor_are_found_by_their_checksum(make_run, tmp_path):
    run = make_run("dcgan", tmp_path / "run", steps=1)
    path = run.train(lambda _: None)
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + largest.file_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"the checkpoint is damaged: .*/data.* does not have its checksum"):
        load_checkpoint(path)


def test_a_checkpoint_is_on_disk_with_its_name_before_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut would leave can't be seen here; what the system was told to write can."""
    told, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        told.append((Path(f"/proc/self/fd/{descriptor}").resolve(), (tmp_path / "ckpt.pt").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    save_durably({"a": torch.zeros(3)}, tmp_path / "ckpt.pt")
    (content, was_there), (folder, is_there) = told
    assert (content.parent, was_there) == (tmp_path, False)
    assert (folder, is_there) == (tmp_path, True)
