"""Files cut off or changed at random: what passes the audit is what torch then finds, and nothing else happens."""

import io
import json
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from gan_export.intake import Limits
from gan_export.intake.audit import audit
from gan_export.refusal import IntakeError

CUTS = 50
MUTANTS = 500


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The same weights in every form."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 3))
    state = {"model": net.state_dict(), "epoch": 3, "lr": 0.5}
    forms = {}
    for name, modern in (("zip", True), ("legacy", False)):
        stream = io.BytesIO()
        torch.save(state, stream, _use_new_zipfile_serialization=modern)
        forms[name] = stream.getvalue()
    return forms


def audited(content: bytes, path: Path) -> list[tuple[str, tuple[int, ...]]] | str:
    """The tensors that a file declares, or why it is refused."""
    path.write_bytes(content)
    try:
        with path.open("rb") as file:
            _, tree = audit(file, path, Limits())
    except IntakeError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 400
        return message
    return [(tensor.dtype, tensor.size) for tensor in tree.tensors]


def changed(content: bytes, chance: random.Random, area: tuple[int, int]) -> bytes:
    """The content with one to four bytes overwritten, inserted or removed within the area."""
    mutant = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(*area)
        new = bytes([chance.choice((0, 0xFF, chance.randrange(256), chance.choice(b"}](.Rbuetsq0Q")))])
        mutant[at : at + chance.choice((0, 1, 1, 1))] = chance.choice((new, new, new, b""))
    return bytes(mutant)


def with_pickle(content: bytes, data: bytes) -> bytes:
    """The archive with another pickle and a checksum that fits."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, data if name.endswith("/data.pkl") else old.read(name))
    return stream.getvalue()


def mutants(files: dict[str, bytes], form: str) -> list[bytes]:
    chance = random.Random(form)
    if form == "pickle":
        with zipfile.ZipFile(io.BytesIO(files["zip"])) as archive:
            data = next(archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl"))
        return [with_pickle(files["zip"], changed(data, chance, (0, len(data)))) for _ in range(MUTANTS)]
    return [changed(files[form], chance, (0, len(files[form]) - 8)) for _ in range(MUTANTS)]


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_file_that_is_cut_off_is_refused(files, tmp_path, refusal, form):
    chance = random.Random(form)
    path = tmp_path / "weights.pt"
    for length in chance.sample(range(len(files[form])), CUTS):
        path.write_bytes(files[form][:length])
        assert refusal(path)


@pytest.mark.parametrize("form", ["zip", "pickle", "legacy"])
def test_torch_finds_in_a_mutant_what_the_audit_found_or_refuses_it(files, tmp_path, form):
    declared = {}
    for i, content in enumerate(mutants(files, form)):
        found = audited(content, path := tmp_path / f"{i}.pt")
        if isinstance(found, str):
            path.unlink()
        else:
            declared[str(path)] = found
    assert 0 < len(declared) < MUTANTS, "some pass, as a byte of a weight or of a name is changed, and some don't"
    code = """
import json, sys
from pathlib import Path
from gan_export.untrusted.confined import limit
from gan_export.intake import reader
limit(640 * 2**20, 2**20, 60)
for path in Path(sys.argv[1]).iterdir():
    try:
        found = [(str(tensor.dtype)[6:], tensor.shape) for tensor in reader.read(path)]
    except Exception as error:
        found = type(error).__name__
    print(json.dumps([str(path), found]))
"""
    command = [sys.executable, "-P", "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=100)
    loaded = dict(map(json.loads, done.stdout.splitlines()))
    assert loaded.keys() == declared.keys()
    read = {path: found for path, found in loaded.items() if not isinstance(found, str)}
    for path, found in read.items():
        assert [(dtype, tuple(size)) for dtype, size in found] == declared[path], Path(path).name
    assert len(read) > len(declared) * 0.9, "what the audit lets through is sound, but for what only torch can know"
    assert {*map(str, tmp_path.iterdir())} == declared.keys()


def test_the_old_format_wants_every_byte(files, tmp_path):
    path = tmp_path / "weights.pt"
    assert isinstance(audited(files["legacy"], path), list)
    assert "1 bytes follow its last tensor" in audited(files["legacy"] + b"\0", path)
    keys = pickle.dumps(["0"], 2)
    assert "is cut off or damaged" in audited(files["legacy"][: files["legacy"].rindex(b"\x80\x02]")] + keys, path)
