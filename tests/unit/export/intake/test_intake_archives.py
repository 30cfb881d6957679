"""Archives and headers that lie, files of other kinds, and what the worst of all these cost."""

import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from torch import nn

MAX_MEMORY = 1024  # MiB
EMPTY = b"\x80\x02}."
LOCAL, ENTRY, END = struct.Struct("<4s5H3L2H"), struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s4H2LH")


def local(name: bytes, data: bytes, method: int = 0) -> bytes:
    size = len(data)
    return LOCAL.pack(b"PK\x03\x04", 20, 0, method, 0, 0, zlib.crc32(data), size, size, len(name), 0) + name + data


def entry(name: bytes, data: bytes, offset: int, size: int | None = None, flags: int = 0) -> bytes:
    size = len(data) if size is None else size
    numbers = (20, 20, flags, 0, 0, 0, zlib.crc32(data), size, size, len(name), 0, 0, 0, 0, 0, offset)
    return ENTRY.pack(b"PK\x01\x02", *numbers) + name


def archive(parts: bytes, entries: list[bytes], count: int | None = None) -> bytes:
    directory = b"".join(entries)
    count = len(entries) if count is None else count
    return parts + directory + END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), len(parts), 0)


PICKLE = local(b"a/data.pkl", EMPTY)
FIRST = entry(b"a/data.pkl", EMPTY, 0)
INNER = local(b"a/data/1", b"1234")
OUTER = local(b"a/data/0", INNER)
MILLION = entry(b"a/data/0", b"", 0) * 10**6
END64 = (
    struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**6, 10**6, len(MILLION), len(PICKLE))
    + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(PICKLE) + len(MILLION), 1)
    + END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
)


def named(name: bytes) -> bytes:
    return archive(PICKLE + local(name, b""), [FIRST, entry(name, b"", len(PICKLE))])


ZIPS = {
    "overlapping members": (
        archive(
            PICKLE + OUTER,
            [
                FIRST,
                entry(b"a/data/0", INNER, len(PICKLE)),
                entry(b"a/data/1", b"1234", len(PICKLE + OUTER) - len(INNER)),
            ],
        ),
        "overlaps another member",
    ),
    "one member twice": (archive(PICKLE, [FIRST, FIRST]), "overlaps another member"),
    "one name twice": (archive(PICKLE * 2, [FIRST, entry(b"a/data.pkl", EMPTY, len(PICKLE))]), "have the same name"),
    "one name in two cases": (named(b"a/DATA.pkl"), "have the same name"),
    "a million members": (PICKLE + MILLION + END64, "of 1,000,000 members; 16,384 are allowed"),
    "a million members that are not announced": (archive(PICKLE, [MILLION], 3), "longer than 8 MiB"),
    "members that are not announced": (archive(PICKLE, [FIRST * 9], 3), "has 9 members and announces 3"),
    "a size beyond the file": (archive(PICKLE, [entry(b"a/data.pkl", EMPTY, 0, 2**31)]), "described in two ways"),
    "two names": (archive(PICKLE, [entry(b"b/data.pkl", EMPTY, 0)]), "described in two ways"),
    "an escape": (named(b"a/../../etc/passwd"), "not a plain path: a/../../etc/passwd"),
    "an absolute path": (named(b"/etc/passwd"), "not a plain path: /etc/passwd"),
    "a name with a zero": (named(b"a/data/0\0x"), r"not a plain path: a/data/0\x00x"),
    "a long name": (named(b"a/" + b"x" * 300), "not a plain path"),
    "an encrypted member": (archive(PICKLE, [entry(b"a/data.pkl", EMPTY, 0, flags=1)]), "is encrypted"),
    "a second directory before the end": (
        archive(PICKLE, [FIRST])[:-22] + archive(b"", [FIRST]),
        "not where the archive's end",
    ),
    "a comment": (archive(PICKLE, [FIRST]) + b"comment", "the end of the zip archive is missing"),
    "TorchScript": (named(b"a/code/__torch__.py"), "is a TorchScript archive, which carries code"),
    "TorchScript's constants": (named(b"a/constants.pkl"), "is a TorchScript archive, which carries code"),
    "big-endian": (
        archive(PICKLE + local(b"a/byteorder", b"big"), [FIRST, entry(b"a/byteorder", b"big", len(PICKLE))]),
        "was not written on a little-endian machine",
    ),
    "no pickle": (archive(local(b"a/x", b""), [entry(b"a/x", b"", 0)]), "is a zip archive without data.pkl"),
    "a changed byte": (archive(PICKLE.replace(b"}", b")"), [FIRST]), "does not match its checksum"),
    "a checksum": (
        archive(
            PICKLE + local(b"a/data/0", b"1234").replace(b"1234", b"1235"),
            [FIRST, entry(b"a/data/0", b"1234", len(PICKLE))],
        ),
        "data/0: does not match its checksum",
    ),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_directory_that_lies_is_refused(tmp_path, refusal, name):
    path = tmp_path / "weights.pt"
    content, words = ZIPS[name]
    path.write_bytes(content)
    message = refusal(path)
    assert words in message, message


def test_a_compressed_bomb_is_refused(tmp_path, refusal):
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("a/data.pkl", bytes(64 * 2**20))
    assert path.stat().st_size < 2**17
    assert "data.pkl: is compressed in the archive" in refusal(path)


def header(text: object, data: bytes = b"") -> bytes:
    content = text if isinstance(text, bytes) else json.dumps(text).encode()
    return len(content).to_bytes(8, "little") + content + data


def tensor(first: int, last: int, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


TABLES = {
    "overlap": (header({"a": tensor(0, 4), "b": tensor(2, 6)}, bytes(6)), "overlap or leave gaps"),
    "gap": (header({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)), "overlap or leave gaps"),
    "beyond the file": (header({"a": tensor(0, 4)}, bytes(3)), "header declares"),
    "bytes that follow": (header({"a": tensor(0, 4)}, bytes(5)), "header declares"),
    "a shape that lies": (header({"a": tensor(0, 4, shape=(2,))}, bytes(4)), "a: its size does not agree"),
    "a negative size": (header({"a": tensor(0, 4, shape=(-1, -1))}, bytes(4)), "a: its size is negative"),
    "an endless size": (header({"a": tensor(0, 4, shape=(2**62,) * 3)}, bytes(4)), "a: its size is negative or beyond"),
    "offsets in disorder": (header({"a": tensor(4, 0)}, bytes(4)), "a: its size does not agree"),
    "a type that is unknown": (header({"a\n": tensor(0, 4, "Q9")}, bytes(4)), r"a\n: is of type Q9"),
    "a complex type": (header({"a": tensor(0, 8, "C64")}, bytes(8)), "a: is of type C64, which can't be exported"),
    "no JSON": (header(b"{a}"), "its header is cut off or damaged"),
    "deep JSON": (header(b'{"a":' + b"[" * 10**6), "its header is cut off or damaged"),
    "a key twice": (header(b'{"a":1,"a":1}'), "its header is cut off or damaged"),
    "an entry of another kind": (header({"a": [1]}), "a: its entry in the header is damaged"),
    "a long header": (header(b"{" + b" " * (5 * 2**20)), "its header is longer than 4 MiB"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_safetensors_header_that_lies_is_refused(tmp_path, refusal, name):
    path = tmp_path / "weights.safetensors"
    content, words = TABLES[name]
    path.write_bytes(content)
    message = refusal(path)
    assert words in message, message


OTHERS = {
    "weights.pt": (b"", "is empty"),
    "page.pth": (b"<!DOCTYPE html><html>", "is a web page"),
    "lfs.pt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    "stylegan.pkl": (pickle.dumps({"G_ema": nn.Linear(2, 2)}, 4), "is a plain pickle (as StyleGAN's .pkl)"),
    "old.pkl": (pickle.dumps(os.system, 0), "is a plain pickle"),
    "keras.h5": (b"\x89HDF\r\n\x1a\n" + bytes(9), "is an HDF5 file"),
    "array.npy": (b"\x93NUMPY\x01\x00", "is a numpy array"),
    "model.onnx": (b"\x08\x08\x12\x07pytorch", "is an ONNX model"),
    "packed.pt.gz": (b"\x1f\x8b\x08", "is a compressed file; unpack it first"),
    "model.ckpt": (bytes(90) + bytes.fromhex("57fb808b247547db"), "is a TensorFlow checkpoint"),
    "model.ckpt.data-00000-of-00001": (bytes(90), "is a TensorFlow checkpoint"),
    "notes.txt": (
        b"Gewichte\n",
        "'Gewichte'); give a file of torch.save, a .safetensors file or an .onnx file",
    ),
    "noise.bin": (b"\xfe\x00\n\xff" * 30, r"begins with '\xfe\x00\n\xff\xfe\x00\n\xff'"),
    "pickle.pt": (
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(9, 2),
        "is of version 9 of torch's old format",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_other_kinds_are_named(tmp_path, refusal, name):
    path = tmp_path / name
    content, words = OTHERS[name]
    path.write_bytes(content)
    message = refusal(path)
    assert words in message, message


def test_archives_of_other_kinds_are_named(tmp_path, refusal):
    arrays = tmp_path / "weights.npz"
    np.savez_compressed(arrays, w=np.ones(2))
    assert "is an archive of numpy arrays (.npz)" in refusal(arrays)
    program = tmp_path / "weights.pt2"
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("weights/models/model.json", "{}")
    assert "is an archive of torch.export (.pt2), not a file of torch.save" in refusal(program)
    tape = tmp_path / "weights.tar"
    with tarfile.open(tape, "w") as tar:
        tar.add(arrays, "storages")
    assert "is a tar archive" in refusal(tape)


def test_what_is_no_file_is_refused_at_once(tmp_path, refusal):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "is not a file" in refusal(pipe)
    assert "can't be read: No such file or directory" in refusal(tmp_path / "missing")
    assert "can't be read: Is a directory" in refusal(tmp_path)


def test_the_worst_files_take_less_than_1_gb(tmp_path, scratch, declare, pickled, write_zip, write_legacy):
    count = 500_000
    bomb = b"\x80\x02}X\x01\x00\x00\x00a](" + b"%s" + b"es."
    write_zip(bomb % (b"}" * count), {}, "dicts.pt")
    write_zip(bomb % (b"}" * 16_000_000), {}, "long.pt")
    write_zip(b"\x80\x02}r\xff\xff\xff\xff.", {}, "memo.pt")
    write_zip(pickled({"w": declare((25 * 10**9,), (0,))}), {"0": bytes(4)}, "stride.pt")
    (tmp_path / "members.pt").write_bytes(PICKLE + MILLION + END64)
    (tmp_path / "json.safetensors").write_bytes(header(b'{"a":[' + b"{}," * 1_390_000 + b"0]}"))
    write_legacy(pickled({"w": declare((1,), (1,), 25 * 10**9, legacy=True)}))
    code = """
import json, resource, sys
from pathlib import Path
from gan_export.intake import read_contents
from gan_export.refusal import IntakeError
said = {}
for path in map(Path, sys.argv[1:]):
    try:
        said[path.name] = sorted(read_contents(path).tree)
    except IntakeError as error:
        said[path.name] = str(error)
# Not RUSAGE_SELF: a process inherits the largest size of the one that started it, which has run many tests.
own = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([said, own, child]))
"""
    files = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True, timeout=100)
    said, own, child = json.loads(done.stdout)
    assert len(said) == 7
    assert said.pop("dicts.pt") == ["a"], "many values, but within the limits"
    assert said.pop("memo.pt") == []
    assert all(isinstance(message, str) for message in said.values())
    assert own < MAX_MEMORY * 1024, f"{own // 1024} MiB"
    assert child < MAX_MEMORY * 1024, f"{child // 1024} MiB"
    assert not [*scratch.iterdir()]
    assert sorted(map(str, tmp_path.iterdir())) == files
