"""A request body -> what is to be generated, or one line that says which field is wrong and what it may be."""

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gan_export.artifact import Manifest, draw
from gan_serving.errors import InvalidRequestError
from gan_serving.requests.plan import Part, Plan, make_plan, parse_request

MAX_N = 100
LAST_SEED = 2**53 - 1
LONGEST_MESSAGE = 300  # characters: the rule, the class names and a short piece of the value
PART_BYTES = 8 * 2**20  # for a part of 64 latents of 512 numbers, and what drawing it takes; all would be 2 GB
PARSE_SECONDS = 3.0  # for 6 MB in which every number is wrong; it was 20 before lists failed fast

MakeManifestFn = Callable[..., Manifest]


@pytest.fixture(scope="module")
def digits(make_manifest: MakeManifestFn) -> Manifest:
    return make_manifest([str(i) for i in range(10)])


def whole(plan: Plan) -> Part:
    """All of a plan at once."""
    return plan.part(0, len(plan))


def plan_of(body: Any, manifest: Manifest) -> Plan:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return make_plan(parse_request(content, MAX_N), manifest, MAX_N)


@pytest.mark.parametrize(
    ("body", "seeds"),
    [
        ({"seed": 5}, [5]),
        ({"seed": 0, "n": 3}, [0, 1, 2]),
        ({"seed": 7, "n": MAX_N}, list(range(7, 7 + MAX_N))),
        ({"seed": LAST_SEED}, [LAST_SEED]),
        ({"seed": LAST_SEED, "n": 1}, [LAST_SEED]),
        ({"seed": LAST_SEED - 1, "n": 2}, [LAST_SEED - 1, LAST_SEED]),
        ({"seeds": [9, 0, 9, LAST_SEED]}, [9, 0, 9, LAST_SEED]),
        ({"seeds": [9, 4], "n": 2}, [9, 4]),
        ({"seeds": list(range(MAX_N))}, list(range(MAX_N))),
        ({"seed": 3, "label": [1, 2, 3]}, [3, 4, 5]),
    ],
)
def test_seeds(digits: Manifest, body: dict[str, Any], seeds: list[int]):
    plan = plan_of(body, digits)
    drawn = draw(seeds, 3, "normal", classes=10)
    assert whole(plan).seeds == seeds
    assert len(plan) == len(seeds)
    assert np.array_equal(whole(plan).latents, drawn.latents)
    assert whole(plan).labels is not None
    if "label" not in body:
        assert np.array_equal(whole(plan).labels, drawn.labels)


@pytest.mark.parametrize("body", [b"", {}, {"n": 1}, {"n": None, "seed": None}, {"n": MAX_N}])
def test_without_a_seed_every_request_draws_its_own(digits: Manifest, body: Any):
    first, second = plan_of(body, digits), plan_of(body, digits)
    assert whole(first).seeds is not None
    assert whole(second).seeds is not None
    assert whole(first).seeds[0] != whole(second).seeds[0]  # by chance equal once in 2**53
    assert whole(first).seeds == list(range(whole(first).seeds[0], whole(first).seeds[0] + len(first)))
    assert whole(first).seeds[-1] <= LAST_SEED


@pytest.mark.parametrize(
    ("names", "label", "n", "expected"),
    [
        ("0123456789", 7, 3, [7, 7, 7]),
        ("0123456789", "7", 2, [7, 7]),
        ("0123456789", "07", 1, [7]),
        ("0123456789", [0, 9, "3"], 3, [0, 9, 3]),
        ("0123456789", [4], 1, [4]),
        ("31", "3", 1, [0]),  # a class name that looks like a number is a name first,
        ("31", 1, 1, [1]),  # while a number is always an id
        ("31", "1", 1, [1]),
        ("31", "0", 1, [0]),
        (["a cat", "Ünï", "c"], ["Ünï", 0, "c"], 3, [1, 0, 2]),
        (["only"], 0, 2, [0, 0]),
    ],
)
def test_labels(make_manifest: MakeManifestFn, names, label, n: int, expected: list[int]):
    plan = plan_of({"seed": 1, "n": n, "label": label}, make_manifest(names))
    assert whole(plan).labels is not None
    assert whole(plan).labels.dtype == np.int64
    assert whole(plan).labels.tolist() == expected


def test_an_unconditional_model_has_no_labels(make_manifest: MakeManifestFn):
    manifest = make_manifest(distribution="uniform", dim=5)
    plan = plan_of({"seed": 1, "n": 2}, manifest)
    assert whole(plan).labels is None
    assert np.array_equal(whole(plan).latents, draw([1, 2], 5, "uniform").latents)
    assert whole(plan_of({"latents": [[0] * 5]}, manifest)).labels is None


def test_latents_are_used_as_they_are(digits: Manifest):
    rows = [[0.1, -2, 3e38], [0, 1e-40, -3.4028234e38]]
    plan = plan_of({"latents": rows, "label": [1, 2]}, digits)
    assert whole(plan).seeds is None
    assert whole(plan).latents.dtype == np.float32
    assert np.array_equal(whole(plan).latents, np.array(rows, np.float32))


def test_truncation(digits: Manifest):
    for truncation in (0.5, 1, 10):
        plan = plan_of({"seed": 1, "n": 50, "truncation": truncation}, digits)
        assert np.array_equal(whole(plan).latents, draw(range(1, 51), 3, "normal", truncation=truncation).latents)


PARTED = [
    {"seed": 5, "n": 23},
    {"seed": 5, "n": 23, "label": 4, "truncation": 0.7},
    {"seeds": [*range(40, 0, -2)]},
    {"seed": LAST_SEED - 9, "n": 10, "label": [*range(10)]},
    {"latents": [[i, -i, 0.5] for i in range(11)], "label": [*range(9), 0, 1]},
    {"latents": [[i, -i, 0.5] for i in range(11)], "label": "3"},
    {},
]


@pytest.mark.parametrize("body", PARTED, ids=str)
@pytest.mark.parametrize("size", [1, 7, 23, 1000])
def test_the_parts_of_a_plan_are_the_plan(digits: Manifest, body: dict[str, Any], size: int):
    plan = plan_of(body, digits)
    parts = list(plan.chunks(size))
    assert [len(part.latents) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert 1 <= len(parts[-1].latents) <= size
    assert np.array_equal(np.concatenate([part.latents for part in parts]), whole(plan).latents)
    assert all(part.latents.dtype == np.float32 for part in parts)
    assert whole(plan).labels is not None
    labels = [part.labels for part in parts if part.labels is not None]
    assert np.array_equal(np.concatenate(labels), whole(plan).labels)
    assert all(part.dtype == np.int64 for part in labels)
    seeds = [seed for part in parts for seed in part.seeds or []]
    assert seeds == (whole(plan).seeds or [])
    assert plan.first_seed == (whole(plan).seeds[0] if whole(plan).seeds else None)


def test_a_part_in_the_middle(make_manifest: MakeManifestFn):
    manifest = make_manifest(distribution="uniform", dim=5)
    part = plan_of({"seed": 10, "n": 50}, manifest).part(20, 23)
    assert part.seeds == [30, 31, 32]
    assert part.labels is None
    assert np.array_equal(part.latents, draw([30, 31, 32], 5, "uniform").latents)


def test_a_large_plan_takes_no_memory_until_its_parts_are_drawn(make_manifest: MakeManifestFn):
    manifest, n = make_manifest("0123456789", dim=512), 1_000_000
    tracemalloc.start()
    try:
        plan = make_plan(parse_request(b'{"seed": 0, "n": 1000000, "label": 3}', n), manifest, n)
        assert [len(part.latents) for part, _ in zip(plan.chunks(64), range(3), strict=False)] == [64, 64, 64]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < PART_BYTES


INVALID = [
    # count
    ({"n": 0}, "n", "n is 0; n must be a whole number from 1 to 100"),
    ({"n": -3}, "n", "n is -3"),
    ({"n": MAX_N + 1}, "n", "n is 101; a request is for at most 100 images"),
    ({"n": True}, "n", "n is True; n must be a whole number"),
    ({"n": 1.0}, "n", "n is 1.0"),
    ({"n": "3"}, "n", "n is '3'"),
    ({"n": [1]}, "n", "n is [1]"),
    (b'{"n": 1' + b"0" * 400 + b"}", "n", "n is 1000"),
    (b'{"n": 1' + b"0" * 5000 + b"}", None, "not valid JSON"),
    ({"n": 2, "seeds": [1, 2, 3]}, "seeds", "n is 2, but seeds has 3 entries"),
    ({"n": 2, "latents": [[0, 0, 0]], "label": 1}, "latents", "n is 2, but latents has 1 entry; leave n out"),
    ({"seeds": list(range(MAX_N + 1))}, "seeds", "seeds has 101 entries; a request is for at most 100 images"),
    ({"latents": [[0, 0, 0]] * (MAX_N + 1), "label": 1}, "latents", "latents has 101 entries"),
    ({"label": [1] * (MAX_N + 1)}, "label", "label has 101 entries"),
    # seeds
    ({"seed": -1}, "seed", "seed is -1; seed must be a whole number with 0 <= seed < 2**53"),
    ({"seed": 2**53}, "seed", "seed is 9007199254740992"),
    ({"seed": LAST_SEED, "n": 2}, "seed", "with n=2 it must be at most 2**53 - 2"),
    ({"seed": False}, "seed", "seed is False"),
    ({"seed": 0.5}, "seed", "seed is 0.5"),
    ({"seed": "1"}, "seed", "seed is '1'"),
    (b'{"seed": 1' + b"0" * 4000 + b"}", "seed", "seed is 1000"),
    ({"seeds": [1, -1]}, "seeds", "seeds[1] is -1"),
    ({"seeds": [True]}, "seeds", "seeds[0] is True"),
    ({"seeds": []}, "seeds", "seeds is []"),
    ({"seeds": 4}, "seeds", "seeds is 4"),
    ({"seeds": [2**53]}, "seeds", "seeds[0] is 9007199254740992"),
    # contradictions
    ({"seed": 1, "seeds": [1]}, "seed", "seed and seeds exclude each other"),
    ({"seed": 1, "latents": [[0, 0, 0]], "label": 1}, "seed", "seed and latents exclude each other"),
    ({"seeds": [1], "latents": [[0, 0, 0]], "label": 1}, "seeds", "seeds and latents exclude each other"),
    ({"truncation": 1, "latents": [[0, 0, 0]], "label": 1}, "truncation", "truncation and latents exclude"),
    # labels
    ({"label": 10}, "label", "label is 10; toy has class ids from 0 to 9 and class names 0, 1"),
    ({"label": -1}, "label", "label is -1"),
    ({"label": 10**30}, "label", "label is 1000"),
    ({"label": "cat"}, "label", "label is 'cat'; toy has class ids"),
    ({"label": "10"}, "label", "label is '10'"),
    ({"label": "-1"}, "label", "label is '-1'"),
    ({"label": "\u0663"}, "label", "label is '\u0663'"),  # a digit, but not an ASCII one
    ({"label": "two\nlines"}, "label", r"label is 'two\nlines'"),
    ({"label": ""}, "label", "label is ''"),
    ({"label": True}, "label", "label is True"),
    ({"label": 1.0}, "label", "label is 1.0"),
    ({"label": []}, "label", "label is []"),
    ({"label": [1, 2], "n": 3}, "label", "label has 2 entries for 3 images; give a single label, or one for each"),
    ({"label": [1, 2], "seeds": [1]}, "label", "label has 2 entries for 1 image; give a single label"),
    ({"label": [1, "cat"]}, "label", "label is 'cat'"),
    ({"label": [1, True]}, "label", "label is [1, True]"),
    ({"label": "x" * 10**6}, "label", "label is 'xxx"),
    # latents
    ({"latents": [[0, 0]], "label": 1}, "latents", "latents[0] has 2 numbers; toy needs 3"),
    ({"latents": [[0]], "label": 1}, "latents", "latents[0] has 1 number; toy needs 3"),
    ({"latents": [[0, 0, 0], [0, 0, 0, 0]], "label": 1}, "latents", "latents[1] has 4 numbers"),
    ({"latents": [[0, 0, 0]]}, "label", "label is missing; with latents, give class ids from 0 to 9"),
    ({"latents": [0, 0, 0], "label": 1}, "latents", "latents[0] is 0"),
    ({"latents": [[0, "a", 0]], "label": 1}, "latents", "latents[0][1] is 'a'"),
    ({"latents": [[0, None, 0]], "label": 1}, "latents", "latents[0][1] is None"),
    ({"latents": [[0, True, 0]], "label": 1}, "latents", "latents[0][1] is True"),
    ({"latents": [[0, float("nan"), 0]], "label": 1}, "latents", "latents[0][1] is nan"),
    ({"latents": [[0, 0, -float("inf")]], "label": 1}, "latents", "latents[0][2] is -inf"),
    (b'{"latents": [[0, 0, 1e999]], "label": 1}', "latents", "latents[0][2] is inf"),
    ({"latents": [[0, 3.5e38, 0]], "label": 1}, "latents", "latents hold 3.5e+38, which is not a finite float32"),
    ({"latents": [[0, -1e300, 0]], "label": 1}, "latents", "not a finite float32"),
    ({"latents": []}, "latents", "latents is []"),
    ({"latents": [[]]}, "latents", "latents[0] is []"),
    # the others
    ({"truncation": 0}, "truncation", "truncation is 0; truncation must be a number above 0 and at most 10"),
    ({"truncation": -1}, "truncation", "truncation is -1"),
    ({"truncation": 10.5}, "truncation", "truncation is 10.5"),
    ({"truncation": float("nan")}, "truncation", "truncation is nan"),
    ({"truncation": True}, "truncation", "truncation is True"),
    ({"format": "gif"}, "format", "format is 'gif'; format must be one of json, png, webp, jpeg, npy, zip, ndjson"),
    ({"format": "PNG"}, "format", "format is 'PNG'"),
    ({"columns": 0}, "columns", "columns is 0; columns must be a whole number from 1 to 1000"),
    ({"columns": 1001}, "columns", "columns is 1001"),
    ({"quality": 0}, "quality", "quality is 0; quality must be a whole number from 1 to 100"),
    ({"quality": 101}, "quality", "quality is 101"),
    ({"quality": 80.5}, "quality", "quality is 80.5"),
    ({"quality": "best"}, "quality", "quality is 'best'"),
    ({"model": 3}, "model", "model is 3"),
    ({"model": "m" * 5000}, "model", "model is 'mmm"),
    ({"lable": 7}, "lable", "unknown field 'lable'; expected one of model, n, seed"),
    ({"x" * 5000: 1}, "x" * 60, "'xxx"),
    # the body
    (b"{", None, "the body is not valid JSON: EOF"),
    (b"n=4", None, "the body is not valid JSON"),
    (b"\xff\xfe", None, "the body is not valid JSON"),
    (b"[" * 100_000, None, "the body is not valid JSON: recursion limit"),
    (b'{"label": "\\ud800"}', None, "the body is not valid JSON"),
    (b"null", None, "the body is None; it must be a JSON object"),
    (b"[]", None, "the body is []; it must be a JSON object"),
    (b'"n"', None, "the body is 'n'; it must be a JSON object"),
]


@pytest.mark.parametrize(("body", "param", "message"), INVALID, ids=[str(body)[:40] for body, _, _ in INVALID])
def test_invalid_requests(digits: Manifest, body: Any, param: str | None, message: str):
    with pytest.raises(InvalidRequestError) as caught:
        plan_of(body, digits)
    error = caught.value
    assert message in error.message
    assert error.param == param
    assert "\n" not in error.message
    assert len(error.message) <= LONGEST_MESSAGE
    assert (error.status, error.code, str(error)) == (400, "invalid_request", error.message)


def test_what_does_not_fit_an_unconditional_model_of_uniform_latents(make_manifest: MakeManifestFn):
    manifest = make_manifest(distribution="uniform")
    for body, param, message in (
        ({"label": 0}, "label", "label is 0, but toy is unconditional; leave it out"),
        ({"label": "cat"}, "label", "toy is unconditional"),
        ({"label": ["x" * 200] * 9}, "label", "toy is unconditional"),
        ({"truncation": 1}, "truncation", "truncation is 1.0, but toy has uniform latents"),
    ):
        with pytest.raises(InvalidRequestError, match=message) as caught:
            plan_of(body, manifest)
        assert caught.value.param == param
        assert len(caught.value.message) <= LONGEST_MESSAGE


def test_many_class_names_are_cut_short(make_manifest: MakeManifestFn):
    with pytest.raises(InvalidRequestError, match=r"class ids from 0 to 999 and class names c0, c1, .*c11, \.\.\.$"):
        plan_of({"label": 1000}, make_manifest([f"c{i}" for i in range(1000)]))


@pytest.mark.parametrize(
    "body",
    [
        b'{"seeds": [' + b"-1," * 2_000_000 + b"1]}",
        b'{"label": [' + b"-1," * 2_000_000 + b"1]}",
        b'{"latents": [[' + b'"",' * 2_000_000 + b"1]]}",
        b'{"latents": [' + b'"",' * 2_000_000 + b"1]}",
    ],
    ids=["seeds", "label", "latents", "rows"],
)
def test_a_large_body_of_wrong_values_is_refused_at_the_first(digits: Manifest, body: bytes):
    began = time.process_time()
    with pytest.raises(InvalidRequestError) as caught:
        plan_of(body, digits)
    assert time.process_time() - began < PARSE_SECONDS
    assert len(caught.value.message) <= LONGEST_MESSAGE


def test_a_class_name_is_the_same_text_however_it_is_composed(make_manifest: MakeManifestFn) -> None:
    composed, apart = "rote \u00c4pfel", "rote A\u0308pfel"

    def ids(asked: str, *names: str) -> Any:
        return plan_of({"label": asked}, make_manifest(list(names))).every_label

    assert ids(composed, "Birnen", apart) == ids(apart, "Birnen", composed) == 1
    assert [ids(asked, apart, composed) for asked in (apart, composed)] == [0, 1]  # exactly what was asked for first


@pytest.mark.parametrize(("asked", "near"), [("hors", "horse"), ("SHIP", "ship"), ("aeroplane", "airplane")])
def test_the_nearest_class_name_is_told(make_manifest: MakeManifestFn, asked: str, near: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^label is '{asked}', the nearest is '{near}'; toy has class ids"):
        plan_of({"label": asked}, make_manifest(["airplane", "horse", "ship"]))
