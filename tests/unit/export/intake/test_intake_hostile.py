"""Files made to run code: refused with one line that names what they ask for, nothing run, nothing left."""

import functools
import operator
import os
import re
import subprocess
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from gan_export.intake import read_contents

HUGE = 100 * 10**9
NAMED = r"asks for (posix|nt)\.system, which could run code"

CALLS = {
    "os.system": (lambda call, mark: call(os.system, f"touch {mark}"), NAMED),
    "eval": (lambda call, mark: call(eval, f"open({mark!r}, 'w')"), r"__builtin__\.eval"),
    "exec": (lambda call, mark: call(exec, f"open({mark!r}, 'w')"), r"__builtin__\.exec"),
    "open": (lambda call, mark: call(open, mark, "w"), r"io\.open"),
    "subprocess": (lambda call, mark: call(subprocess.Popen, ["touch", mark]), r"\.Popen, which could run code"),
    "getattr": (lambda call, mark: call(call(getattr, call(__import__, "os"), "system"), f"touch {mark}"), "getattr"),
    "attrgetter": (lambda call, _: call(call(operator.attrgetter, "system"), "os"), r"operator\.attrgetter"),
    "partial": (lambda call, mark: call(functools.partial, os.system, f"touch {mark}"), r"functools\.partial"),
    "torch.hub": (lambda call, mark: call(torch.hub.load, mark, "x"), r"torch\.hub\.load"),
    "torch.load": (lambda call, mark: call(torch.load, mark), r"torch\.serialization\.load"),
    "bytearray": (lambda call, _: call(bytearray, HUGE), r"__builtin__\.bytearray"),
    "torch.UntypedStorage": (
        lambda call, _: call(torch.UntypedStorage, HUGE),
        r"calls torch\.storage\.UntypedStorage, which",
    ),
    "torch.FloatStorage": (
        lambda call, _: call(torch.FloatStorage, HUGE),
        r"calls torch\.FloatStorage, which is not a",
    ),
    "odd arguments": (lambda call, _: call(torch.Size, ("ab",)), r"torch\.Size with invalid arguments"),
    "a type of no tensor": (
        lambda call, _: call(torch._utils._rebuild_tensor_v3, 0, 0, (), (), False, None, "a\n" * 99),
        r"_rebuild_tensor_v3 with invalid arguments$",
    ),
    "in a key": (lambda call, mark: {call(os.system, f"touch {mark}"): 1}, NAMED),
    "in metadata": (lambda call, mark: {"_metadata": [call(os.system, f"touch {mark}")]}, NAMED),
}

MEMO = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94%s\x8c\x04true\x85R."
# Each list holds the one before it nine times.
LAUGHS = [b"X\x01\x00\x00\x00%d](%seq%cs" % (i, b"h%c" % (i - 1) * 9 if i else b"", i) for i in range(9)]
OPCODES = {
    "names from the memo": (MEMO % b"}h\x00h\x01\x93", NAMED),
    "names from the stack": (MEMO % b"\x93", NAMED),
    "a name that is computed": (b"\x80\x04\x8c\x05posix]\x93.", "whose name is not text"),
    "a name that is a dotted path": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "__globals__"),
    "names in Latin": (b"\x80\x02cposix\xff\nsystem\n.", "cut off or damaged"),
    "INST": (b"\x80\x02(X\x04\x00\x00\x00trueiposix\nsystem\n.", NAMED),
    "OBJ": (b"\x80\x02(cposix\nsystem\nX\x04\x00\x00\x00trueo.", NAMED),
    "an extension": (b"\x80\x02\x82\x01.", "opcode that state dicts don't have: EXT1"),
    "a long bytearray": (b"\x80\x02\x96" + HUGE.to_bytes(8, "little") + b".", "state dicts don't have: BYTEARRAY8"),
    "a long text": (b"\x80\x02\x8d" + HUGE.to_bytes(8, "little") + b".", "cut off or damaged"),
    "a long number": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "state dicts don't have: LONG4"),
    "a number as text": (b"\x80\x02L" + b"9" * 100_000 + b"L\n.", "state dicts don't have: LONG"),
    "a memo that was not written": (b"\x80\x02h\x07.", "cut off or damaged"),
    "an empty stack": (b"\x80\x020.", "state dicts don't have: POP"),
    "below the mark": (b"\x80\x02}(s.", "cut off or damaged"),
    "two objects": (b"\x80\x02}}.", "leaves more than one object"),
    "protocol 4": (b"\x80\x04}.", "is pickled with protocol 4"),
    "an unknown protocol": (b"\x80\xff}.", "is pickled with protocol 255"),
    "no dict": (b"\x80\x02K\x01.", "holds a value of type int, not a state dict"),
    "a list that holds itself": (b"\x80\x02]q\x00h\x00a.", "nested more than 40 deep, or holds itself"),
    "a dict that holds itself": (
        b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
        "nested more than 40 deep, or holds itself",
    ),
    "a deep list": (b"\x80\x02}X\x01\x00\x00\x00a]" + b"\x85" * 10_000 + b"s.", "nested more than 40 deep"),
    "a deep key": (b"\x80\x02}]" + b"\x85" * 100_000 + b"Ns.", "dict key of type tuple"),
    "laughs": (b"\x80\x02}" + b"".join(LAUGHS) + b".", "holds more than 1,000,000 values"),
    "a key twice": (b"\x80\x02}(K\x01NX\x01\x00\x00\x001Nu.", "the same key as a number and as text"),
    "bytes": (
        b"\x80\x02}X\x01\x00\x00\x00ac_codecs\nencode\nX\x00\x00\x00\x00X\x06\x00\x00\x00latin1\x86Rs.",
        "type bytes",
    ),
    "a method replaced": (
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsNsb.",
        "an invalid state",
    ),
    "a storage of another kind": (
        b"\x80\x02X\x06\x00\x00\x00moduleNN\x87Q.",
        "refers to something that is not a storage",
    ),
}


# What is long is said once, and then given from the memo to a hundred calls.
TEXT = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6
COUNTS = b"}(" + b"".join(b"X\x05\x00\x00\x00%05dK\x07" % i for i in range(60_000)) + b"u"
BOTH = b"h\x00h\x01R"
MAKES = "its pickle makes more than 16 MiB of values"
REPEATED = {
    "bytes": (
        b"c_codecs\nencode\nq\x00" + TEXT + b"X\x06\x00\x00\x00latin1\x86q\x01",
        BOTH,
        MAKES,
    ),
    "a layout": (
        b"ctorch.serialization\n_get_layout\nq\x00](" + b"K\x07" * 60_000 + b"e\x85q\x01",
        BOTH,
        "calls torch.serialization._get_layout with invalid arguments",
    ),
    "a size": (b"ctorch\nSize\nq\x00(" + b"K\x07" * 60_000 + b"t\x85q\x01", BOTH, MAKES),
    "a counter": (b"ccollections\nCounter\nq\x00" + COUNTS + b"\x85q\x01", BOTH, MAKES),
    "pairs": (b"ccollections\nOrderedDict\nq\x00](" + b"K\x07K\x07\x86" * 60_000 + b"e\x85q\x01", BOTH, MAKES),
    "a namespace": (b"cargparse\nNamespace\nq\x00" + COUNTS + b"q\x01", b"h\x00)\x81h\x01b", MAKES),
    "a name": (TEXT + b"q\x00", b"h\x00h\x00\x93", "a global whose name is longer than 512 characters"),
}


class Reluctant(nn.Module):
    """A module of one's own with children of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_refused_by_name_and_not_made(write_zip, write_legacy, pickled, call, refusal, tmp_path, name, form):
    make, words = CALLS[name]
    marker = tmp_path / "ran"
    state = OrderedDict(w=make(call, str(marker)))
    path = (write_zip if form == "zip" else write_legacy)(pickled(state))
    message = refusal(path)
    assert re.search(words, message), message
    assert not marker.exists()


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("name", OPCODES)
def test_opcodes_that_no_state_dict_has_are_refused(write_zip, write_legacy, refusal, name, form):
    data, words = OPCODES[name]
    message = refusal(write_zip(data) if form == "zip" else write_legacy(data, (), b""))
    assert re.search(words, message), message


@pytest.mark.parametrize("name", REPEATED)
def test_what_is_said_once_is_not_copied_without_end(write_zip, refusal, name):
    said, call, words = REPEATED[name]
    assert words in refusal(write_zip(b"\x80\x02}X\x01\x00\x00\x00w](" + said + call * 100 + b"es."))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_module_is_told_from_a_state_dict(tmp_path, refusal, legacy):
    path = tmp_path / "netG.pth"
    for module in (nn.Sequential(nn.Linear(2, 2)), Reluctant(), {"netG": Reluctant(), "epoch": 3}):
        torch.save(module, path, _use_new_zipfile_serialization=not legacy)
        message = refusal(path)
        assert "is a whole pickled module (" in message
        assert "torch.save(model.state_dict(), ...)" in message


class OwnTensor(torch.Tensor):
    pass


def with_attribute(tensor):
    tensor.note = "mine"
    return tensor


@pytest.mark.parametrize(
    ("tensor", "named"),
    [
        (torch.ones(2).as_subclass(OwnTensor), "OwnTensor"),
        (with_attribute(torch.ones(2)), "(torch.Tensor)"),
        (with_attribute(nn.Parameter(torch.ones(2))), "_rebuild_parameter_with_state"),
    ],
)
def test_tensors_that_are_not_plain_are_told_from_a_pickled_module(tmp_path, refusal, tensor, named):
    path = tmp_path / "netG.pth"
    torch.save({"w": tensor}, path)
    message = refusal(path)
    assert "holds tensors with a class or attributes of their own (" in message
    assert named in message
    assert "value.as_subclass(torch.Tensor)" in message
    torch.save({"w": tensor.as_subclass(torch.Tensor)}, path)  # the remedy
    assert read_contents(path).tree["w"].tolist() == [1, 1]


def test_another_class_is_named(write_zip, pickled, call, refusal):
    message = refusal(write_zip(pickled({"opt": call(Path, "out")})))
    assert "asks for pathlib.Path, which could run code" in message


@pytest.mark.filterwarnings("ignore:torch.quantize:UserWarning")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "net.w: is a quantized tensor"),
        (lambda: torch.ones(3).to_sparse(), "net.w: is a sparse tensor"),
        (lambda: torch.ones(3, dtype=torch.complex64), "net.w: is a complex tensor"),
        (lambda: nn.Parameter(torch.ones(3, dtype=torch.complex128)), "net.w: is a complex tensor"),
        (lambda: torch.ones(3).to(torch.float8_e5m2), "net.w: is a tensor of float8_e5m2, which can't be exported"),
        (lambda: nn.Parameter(torch.ones(3).to(torch.float8_e4m3fn)), "net.w: is a tensor of float8_e4m3fn, which"),
        (lambda: torch.ones(3).to(torch.uint16), "net.w: is a tensor of uint16, which"),
        (lambda: torch.ones(3, device="meta"), "net.w: is on the device 'meta', which holds no data"),
    ],
    ids=["quantized", "sparse", "complex", "complex parameter", "float8", "float8 parameter", "uint16", "meta"],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_that_can_not_be_exported_are_named_by_their_key(tmp_path, refusal, make, words, legacy):
    path = tmp_path / "weights.pt"
    torch.save({"net": {"good": torch.ones(2), "w": make()}}, path, _use_new_zipfile_serialization=not legacy)
    assert words in refusal(path)


TENSORS = {
    "stride 0": ({"size": (HUGE // 4,), "stride": (0,)}, r"declares tensors of 93 GiB"),
    "stride 0 in one dimension": ({"size": (2, 10**9), "stride": (1, 0), "numel": 2}, r"declares tensors of 7 GiB"),
    "beyond the storage": (
        {"size": (25, 10**9), "stride": (10**9, 1)},
        r"w: reaches to element 25000000000 of a storage",
    ),
    "an offset": ({"size": (1,), "stride": (1,), "offset": 1}, r"w: reaches to element 2 of a storage of 1"),
    "a negative stride": ({"size": (2,), "stride": (-1,)}, r"w: declares a size, stride or offset that is negative"),
    "a negative size": ({"size": (-1,), "stride": (1,)}, r"w: declares a size, stride or offset that is negative"),
    "a size without end": ({"size": (2**70, 0), "stride": (1, 1)}, r"beyond any file: \(1180591620717411303424, 0\)"),
    "dimensions": ({"size": (1,) * 99, "stride": (1,) * 99}, r"with invalid arguments"),
    "strides missing": ({"size": (1, 1), "stride": (1,)}, r"with invalid arguments"),
    "a size that is no number": ({"size": (True,), "stride": (1,)}, r"with invalid arguments"),
    "a large storage": (
        {"size": (1,), "stride": (1,), "numel": HUGE},
        r"declared as 400,000,000,000 bytes|no data|not where",
    ),
    "a storage that is missing": ({"size": (1,), "stride": (1,), "key": "7"}, r"missing|not where"),
    "a path for a key": ({"size": (1,), "stride": (1,), "key": "../data.pkl"}, r"missing|not where"),
}


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_larger_than_its_bytes_is_refused(write_zip, write_legacy, pickled, declare, refusal, name, form):
    declared, words = TENSORS[name]
    state = {"w": declare(**declared, legacy=form == "legacy")}
    numel = declared.get("numel", 1)
    content = bytes(4 * (numel if numel < 9 else 1))
    legacy_content = len(content[::4]).to_bytes(8, "little") + content
    path = (
        write_zip(pickled(state), {"0": content})
        if form == "zip"
        else write_legacy(pickled(state), ("0",), legacy_content)
    )
    message = refusal(path)
    assert re.search(words, message), message


def test_one_storage_read_a_hundred_times_is_refused(write_zip, pickled, declare, refusal):
    size = 250_000
    state = {f"w{i}": declare((size,), (1,), size) for i in range(100)}
    path = write_zip(pickled(state), {"0": bytes(4 * size)})
    assert "a file of 983 KiB declares tensors of 95 MiB, and 3 MiB are allowed" in refusal(path)


def test_one_storage_of_two_sizes_is_refused(write_zip, pickled, declare, refusal):
    for other in ({"numel": 2}, {"kind": torch.IntStorage}):
        state = {"a": declare((1,), (1,)), "b": declare((1,), (1,), **other)}
        assert "one storage with two sizes" in refusal(write_zip(pickled(state)))


def test_a_tensor_that_no_key_leads_to_is_checked_too(write_zip, pickled, declare, refusal):
    hidden = pickled({"w": declare((HUGE,), (1,))})
    data = hidden.removesuffix(b"s.") + b"sX\x01\x00\x00\x00wNs."  # and then w is something else
    assert "a tensor that no key leads to reaches to element" in refusal(write_zip(data))


def test_bytes_are_named_by_their_key_however_many_they_are(write_zip, refusal, pickled):
    for blob in (b"x" * 10, b"x" * 100):
        said = refusal(write_zip(pickled({"blob": blob})))
        assert "blob: is a value of type bytes, and only tensors and plain values can be read" in said
