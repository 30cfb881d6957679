"""Requests of the inference protocol as bytes: what they mean, and that bad ones are refused and do nothing else."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from v2_requests import CLASSES, DIM, LABELS, MAX_N, Z, binary_request, tensor

from gan_export.artifact import Manifest, draw
from gan_serving.errors import InvalidRequestError
from gan_serving.v2.request import LONGEST_ID, Inference, parse_inference


@pytest.fixture(scope="module")
def unconditional(make_manifest: Callable[..., Manifest]) -> Manifest:
    return make_manifest(dim=DIM)


def z_input(**changes: Any) -> dict[str, Any]:
    return tensor("z", "FP32", Z, Z.tolist()) | changes


def label_input(**changes: Any) -> dict[str, Any]:
    return tensor("label", "INT64", LABELS, LABELS.tolist()) | changes


def parse(manifest: Manifest, content: Any, binary: bytes | None = None, length: str | None = None) -> Inference:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    if binary is not None and length is None:
        length = str(len(text))
    return parse_inference(text + (binary or b""), length, manifest, MAX_N)


def refusal(*arguments: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        parse(*arguments)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_binary_json_rows_and_flat_json_are_the_same_tensors(conditional: Manifest) -> None:
    content, binary = binary_request()
    for asked in (
        parse(conditional, content, binary),
        parse(conditional, {"inputs": [z_input(), label_input()]}),
        parse(conditional, {"inputs": [label_input(), z_input(data=Z.ravel().tolist())]}),
        parse(conditional, {"inputs": [z_input(), tensor("label", "INT64", LABELS)]}, LABELS.tobytes()),
    ):
        assert len(asked) == 2
        assert asked.latents is not None
        assert (asked.latents.dtype, asked.latents.flags.aligned) == (np.float32, True)
        assert asked.latents.tobytes() == Z.tobytes()
        assert asked.labels is not None
        assert asked.labels.tolist() == [4, 0]
        assert asked.seeds is None


def test_binary_tensors_come_in_the_order_of_the_inputs(conditional: Manifest) -> None:
    content, _ = binary_request()
    content["inputs"].reverse()
    asked = parse(conditional, content, LABELS.tobytes() + Z.tobytes())
    assert np.array_equal(asked.latents, Z)
    assert np.array_equal(asked.labels, LABELS)


@pytest.mark.parametrize(("datatype", "dtype"), [("INT64", np.int64), ("UINT64", np.uint64)])
@pytest.mark.parametrize("as_json", [True, False])
def test_seeds_are_drawn_as_everywhere(conditional: Manifest, datatype: str, dtype: type, as_json: bool) -> None:
    seeds = np.array([0, 7, 2**53 - 1, 7, 1], dtype)
    entry = tensor("seed", datatype, seeds, seeds.tolist() if as_json else None)
    drawn = draw(seeds.tolist(), DIM, "normal", classes=CLASSES)
    asked = parse(conditional, {"inputs": [entry]}, b"" if as_json else seeds.tobytes())
    parts = list(asked.parts(conditional, 2))
    assert [len(latents) for latents, _ in parts] == [2, 2, 1]
    assert np.array_equal(np.concatenate([latents for latents, _ in parts]), drawn.latents)
    assert np.array_equal(np.concatenate([labels for _, labels in parts]), drawn.labels)


def test_given_labels_go_with_seeds_and_none_with_an_unconditional_generator(
    conditional: Manifest, unconditional: Manifest
) -> None:
    seeds = {"name": "seed", "shape": [2], "datatype": "INT64", "data": [1, 2]}
    (part,) = parse(conditional, {"inputs": [seeds, label_input()]}).parts(conditional, 64)
    assert np.array_equal(part[1], LABELS)
    (part,) = parse(unconditional, {"inputs": [z_input()]}).parts(unconditional, 64)
    assert part[1] is None
    assert np.array_equal(part[0], Z)


@pytest.mark.parametrize(
    ("content", "binary"),
    [
        ({}, False),
        ({"outputs": []}, False),
        ({"outputs": [{"name": "image"}]}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"parameters": {"binary_data_output": True}, "outputs": [{"name": "image"}]}, True),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "image", "parameters": {"binary_data": False}}],
            },
            False,
        ),
        ({"outputs": [{"name": "image", "parameters": {"binary_data": True}}]}, True),
    ],
)
def test_the_output_is_binary_where_it_is_asked_for(conditional: Manifest, content: dict, binary: bool) -> None:
    assert parse(conditional, content | {"inputs": [z_input(), label_input()]}).binary is binary


def test_id_and_timeout_are_taken_over(conditional: Manifest) -> None:
    inputs = [z_input(), label_input()]
    asked = parse(conditional, {"id": "x" * LONGEST_ID, "parameters": {"timeout": 1_500_000}, "inputs": inputs})
    assert (asked.id, asked.timeout) == ("x" * LONGEST_ID, 1.5)
    for version in ("1", 1, ""):
        asked = parse(conditional, {"model_name": "toy", "model_version": version, "inputs": inputs})
        assert (asked.id, asked.timeout) == (None, None)


LONG_INT = 10**400
BAD_CONTENTS = [
    ([], ["JSON object"]),
    ({}, ["inputs is None", "z FP32 [N, 3]", "seed INT64 or UINT64 [N]", "label INT64 [N]"]),
    ({"inputs": []}, ["inputs is []"]),
    ({"inputs": {}}, ["inputs is {}"]),
    ({"inputs": [7]}, ["7", "JSON object"]),
    ({"inputs": [{}]}, ["None is not an input"]),
    ({"inputs": [z_input(name="noise"), label_input()]}, ["'noise'", "z FP32 [N, 3]"]),
    ({"inputs": [z_input(name=["z"]), label_input()]}, ["['z']"]),
    ({"inputs": [z_input(), z_input(), label_input()]}, ["z is given twice"]),
    ({"inputs": [z_input(extra=1), label_input()]}, ["'extra'"]),
    ({"inputs": [z_input(datatype="FP64"), label_input()]}, ["'FP64'", "FP32"]),
    ({"inputs": [z_input(datatype="BYTES"), label_input()]}, ["'BYTES'", "FP32"]),
    ({"inputs": [z_input(datatype=[]), label_input()]}, ["FP32"]),
    ({"inputs": [z_input(), label_input(datatype="INT32")]}, ["'INT32'", "INT64"]),
    ({"inputs": [z_input(shape=[2, 4]), label_input()]}, ["[2, 4]", "[N, 3]", "1 to 8"]),
    ({"inputs": [z_input(shape=[6]), label_input()]}, ["[6]"]),
    ({"inputs": [z_input(shape=[0, 3]), label_input()]}, ["[0, 3]"]),
    ({"inputs": [z_input(shape=[-2, 3]), label_input()]}, ["[-2, 3]"]),
    ({"inputs": [z_input(shape=[9, 3]), label_input()]}, ["[9, 3]", "1 to 8"]),
    ({"inputs": [z_input(shape=[2.0, 3]), label_input()]}, ["[2.0, 3]"]),
    ({"inputs": [z_input(shape=[2, 3.0]), label_input()]}, ["[2, 3.0]"]),
    ({"inputs": [z_input(shape=[LONG_INT, 3]), label_input()]}, ["1000", "1 to 8"]),
    ({"inputs": [tensor("seed", "INT64", LABELS, [1]) | {"shape": [True]}]}, ["[True]"]),
    ({"inputs": [z_input(shape=[1, 3]), label_input()]}, ["6 values", "[1, 3]"]),
    ({"inputs": [z_input(data=7), label_input()]}, ["data of z is 7"]),
    ({"inputs": [z_input(data=None), label_input()]}, ["data of z is None"]),
    ({"inputs": [z_input(data=[[1, 2, 3], [1, 2]]), label_input()]}, ["data[1] of z", "3 numbers"]),
    ({"inputs": [z_input(data=[[1, 2, 3], 4, 5, 6]), label_input()]}, ["data[1] of z"]),
    ({"inputs": [z_input(data=[1, [2, 3, 4], 5, 6, 7, 8]), label_input()]}, ["[2, 3, 4]"]),
    ({"inputs": [z_input(data=[1, 2, 3, 4, 5]), label_input()]}, ["5 values", "has 6"]),
    ({"inputs": [z_input(data=[1, 2, 3, 4, 5, True]), label_input()]}, ["True", "float32"]),
    ({"inputs": [z_input(data=[1, 2, 3, 4, 5, "6"]), label_input()]}, ["'6'", "float32"]),
    ({"inputs": [z_input(data=[1, 2, 3, 4, 5, None]), label_input()]}, ["None", "float32"]),
    ({"inputs": [z_input(data=[1, 2, 3, 4, 5, 1e39]), label_input()]}, ["1e+39", "finite"]),
    ({"inputs": [z_input(data=[1, 2, 3, 4, 5, LONG_INT]), label_input()]}, ["1000", "finite"]),
    ({"inputs": [z_input(), label_input(data=[1, 5])]}, ["label[1] is 5", "0 to 4"]),
    ({"inputs": [z_input(), label_input(data=[-1, 0])]}, ["label[0] is -1", "0 to 4"]),
    ({"inputs": [z_input(), label_input(data=[1.0, 2])]}, ["1.0", "whole"]),
    ({"inputs": [z_input(), label_input(data=[True, 2])]}, ["True", "whole"]),
    ({"inputs": [z_input(), label_input(data=[2**63, 2])]}, ["9223372036854775808", "int64"]),
    ({"inputs": [z_input(), label_input(data=[[1], [2]])]}, ["[1]", "whole"]),
    ({"inputs": [z_input(), label_input(shape=[1], data=[1])]}, ["2 images", "1"]),
    ({"inputs": [label_input(shape=[1], data=[1]), z_input()]}, ["label is for 1 image and z for 2"]),
    ({"inputs": [z_input(), label_input(data=[1])]}, ["data of label has 1 value, but"]),
    ({"inputs": [z_input()]}, ["label is missing", "0 to 4"]),
    ({"inputs": [label_input()]}, ["neither", "z and seed"]),
    ({"inputs": [z_input(), label_input(), label_input(name="seed")]}, ["both", "z and seed"]),
    ({"inputs": [label_input(name="seed", data=[-1, 2])]}, ["seed[0] is -1", "2**53"]),
    ({"inputs": [label_input(name="seed", data=[1, 2**53])]}, ["seed[1] is 9007199254740992", "2**53"]),
    ({"inputs": [label_input(name="seed", datatype="UINT64", data=[1, -2])]}, ["-2", "uint64"]),
    ({"inputs": [label_input(name="seed", datatype="UINT64", data=[1, 2**64])]}, ["18446744073709551616", "uint64"]),
    ({"inputs": [z_input(parameters=[]), label_input()]}, ["parameters of z is []"]),
    ({"inputs": [z_input(parameters={"binary_data_size": 24}), label_input()]}, ["both data and binary_data_size"]),
    ({"inputs": [tensor("z", "FP32", Z) | {"parameters": {}}, label_input()]}, ["neither data nor binary_data_size"]),
    ({"inputs": [tensor("z", "FP32", Z), label_input()]}, ["0 bytes left"]),
    (
        {"inputs": [z_input(parameters={"shared_memory_region": "r"}), label_input()]},
        ["shared memory", "send the data"],
    ),
    ({"inputs": [z_input(parameters={"other": 1}), label_input()]}, ["'other'"]),
    ({"id": 7}, ["inputs"]),
    ({"id": 7, "inputs": [z_input(), label_input()]}, ["id is 7"]),
    ({"id": "x" * (LONGEST_ID + 1), "inputs": [z_input(), label_input()]}, ["id is 'xx", "1024"]),
    ({"inputs": [z_input(), label_input()], "sequence": 1}, ["'sequence'"]),
    ({"inputs": [z_input(), label_input()], "model_name": "other"}, ["'other'", "toy"]),
    ({"inputs": [z_input(), label_input()], "model_version": "7"}, ["model_version is '7'", "version 1"]),
    ({"inputs": [z_input(), label_input()], "model_version": None}, ["model_version is None", "version 1"]),
    ({"inputs": [z_input(), label_input()], "parameters": 1}, ["parameters is 1"]),
    ({"inputs": [z_input(), label_input()], "parameters": {"sequence_id": 1}}, ["'sequence_id'"]),
    ({"inputs": [z_input(), label_input()], "parameters": {"binary_data_output": 1}}, ["binary_data_output is 1"]),
    ({"inputs": [z_input(), label_input()], "parameters": {"timeout": 0}}, ["timeout is 0", "microseconds"]),
    ({"inputs": [z_input(), label_input()], "parameters": {"timeout": True}}, ["timeout is True"]),
    ({"inputs": [z_input(), label_input()], "outputs": {"name": "image"}}, ["outputs is"]),
    ({"inputs": [z_input(), label_input()], "outputs": [{"name": "image"}] * 2}, ["outputs is", "image"]),
    ({"inputs": [z_input(), label_input()], "outputs": [{"name": "pixels"}]}, ["pixels", "uint8"]),
    ({"inputs": [z_input(), label_input()], "outputs": [{"name": "logits"}]}, ["'logits'", "image"]),
    ({"inputs": [z_input(), label_input()], "outputs": ["image"]}, ["'image'", "JSON object"]),
    (
        {"inputs": [z_input(), label_input()], "outputs": [{"name": "image", "parameters": {"classification": 3}}]},
        ["classification"],
    ),
    (
        {
            "inputs": [z_input(), label_input()],
            "outputs": [{"name": "image", "parameters": {"shared_memory_region": "r"}}],
        },
        ["shared"],
    ),
    (
        {"inputs": [z_input(), label_input()], "outputs": [{"name": "image", "parameters": {"binary_data": "yes"}}]},
        ["'yes'"],
    ),
]


@pytest.mark.parametrize(("content", "words"), BAD_CONTENTS)
def test_bad_requests_say_what_is_wrong(conditional: Manifest, content: Any, words: list[str]) -> None:
    message = refusal(conditional, content)
    assert len(message) < 400
    for word in words:
        assert word in message


def test_a_label_for_an_unconditional_generator_is_refused(unconditional: Manifest) -> None:
    assert "'label' is not an input" in refusal(unconditional, {"inputs": [z_input(), label_input()]})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_latents_that_are_not_finite_are_refused(conditional: Manifest, value: float) -> None:
    content, _ = binary_request()
    z = Z.copy()
    z[1, 2] = value
    message = refusal(conditional, content, z.tobytes() + LABELS.tobytes())
    assert str(value) in message
    assert "finite" in message
    # NaN and Infinity are what Python's json writes; they are no JSON.
    assert "no JSON number" in refusal(conditional, {"inputs": [z_input(data=z.tolist()), label_input()]})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{bad",
        b"\xff\xfe{}",
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"id": ' + b"9" * 5000 + b"}",
        b'{"id": "\\ud800", "\\ud800": 1}',
        b'{"inputs": [{"name": "\\ud800\\n"}]}',
        b"null",
        b"1",
    ],
)
def test_what_is_no_json_or_odd_json_is_refused_in_plain_text(conditional: Manifest, text: bytes) -> None:
    refusal(conditional, text).encode()


def test_the_largest_requests_are_not_taken_for_bombs(conditional: Manifest) -> None:
    rows = {"name": "z", "shape": [MAX_N, DIM], "datatype": "FP32", "data": [[0.5] * DIM] * MAX_N}
    labels = {"name": "label", "shape": [MAX_N], "datatype": "INT64", "data": [1] * MAX_N}
    assert len(parse(conditional, {"inputs": [rows, labels]})) == MAX_N
