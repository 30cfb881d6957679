"""A request's key points -> the frames of a path through latent space, or one line that says what is wrong."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gan_client.types import InterpolateRequest
from gan_export.artifact import Manifest, draw
from gan_serving.errors import InvalidRequestError
from gan_serving.requests.path import LatentPath, make_path
from gan_serving.requests.plan import parse_interpolation

MAX_N = 100
ANGLE_ERROR = 1e-5  # radians, of latents in float32

MakeManifestFn = Callable[..., Manifest]


def path_of(body: Any, manifest: Manifest) -> LatentPath:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return make_path(parse_interpolation(content, MAX_N), manifest, MAX_N)


def frames_of(path: LatentPath) -> tuple[np.ndarray, np.ndarray | None]:
    return path.part(0, len(path))


@pytest.mark.parametrize(("seeds", "steps"), [([3, 9], 2), ([1, 2, 3], 16), ([7, 7, 5, 7], 5)])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("truncation", [None, 0.5])
def test_key_frames_are_exactly_the_latents_of_their_seeds(digits: Manifest, seeds, steps, loop, truncation):
    path = path_of({"seeds": seeds, "steps": steps, "loop": loop, "truncation": truncation}, digits)
    drawn = draw(seeds, 16, "normal", classes=10, truncation=truncation)
    latents, labels = frames_of(path)
    assert labels is not None
    k = len(seeds)
    assert len(path) == len(latents) == (k * steps if loop else (k - 1) * steps + 1)
    assert latents.dtype == np.float32
    assert np.array_equal(latents[::steps], drawn.latents)
    assert np.array_equal(labels[::steps], drawn.labels)


def test_normal_latents_turn_at_an_even_speed(digits: Manifest):
    latents = frames_of(path_of({"seeds": [1, 2, 3], "steps": 12, "loop": True}, digits))[0].astype(np.float64)
    lengths = np.linalg.norm(latents, axis=1)
    units = latents / lengths[:, None]
    for start in (0, 12, 24):
        ends = units[start], units[(start + 12) % 36]
        whole = np.arccos(ends[0] @ ends[1])
        around = np.concatenate([units, units[:1]])[start : start + 13]
        angles = np.arccos(np.clip((around[1:] * around[:-1]).sum(1), -1, 1))
        assert np.abs(angles - whole / 12).max() < ANGLE_ERROR
        # in the plane of the key points
        rest = around - around @ np.linalg.pinv(np.stack(ends)) @ np.stack(ends)
        assert np.abs(rest).max() < ANGLE_ERROR
        between = np.concatenate([lengths, lengths[:1]])[start : start + 13]
        assert np.abs(np.diff(between, 2)).max() < ANGLE_ERROR * lengths.max()


def test_uniform_latents_go_straight(make_manifest: MakeManifestFn):
    manifest = make_manifest(distribution="uniform", dim=5)
    latents, labels = frames_of(path_of({"seeds": [4, 8], "steps": 8}, manifest))
    a, b = draw([4, 8], 5, "uniform").latents.astype(np.float64)
    expected = [a + (b - a) * i / 8 for i in range(9)]
    assert labels is None
    assert np.abs(latents - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("a", "b", "middle"),
    [
        ([2, 0], [0, 2], [2**0.5, 2**0.5]),
        ([1, -0.0], [-0.0, 3], [2**0.5, 2**0.5]),
        ([1, 0], [4, 0], [2.5, 0]),  # parallel
        ([1, 0], [1, 0], [1, 0]),
        ([1, 0], [-1, 0], [0, 0]),  # opposite: no way round is nearer than another
        ([0, 0], [4, 2], [2, 1]),
        ([0, 0], [0, 0], [0, 0]),
        ([1, 0], [1, 2e-7], [1, 1e-7]),
        ([3e38, 0], [0, 3e38], [2.1213203e38, 2.1213203e38]),
        ([3.4e38, 3.4e38], [3.4e38, -3.4e38], [3.4028235e38, 0]),  # float32 ends here
        ([1e-40, 0], [0, 1e-40], [7.0710678e-41, 7.0710678e-41]),
    ],
)
def test_the_middle_of_a_path(make_manifest: MakeManifestFn, a, b, middle):
    latents, _ = frames_of(path_of({"latents": [a, b], "steps": 2}, make_manifest(dim=2)))
    assert np.isfinite(latents).all()
    assert latents[[0, 2]].tobytes() == np.array([a, b], np.float32).tobytes()  # to the bit, a zero's sign included
    assert latents[1] == pytest.approx(middle, rel=1e-5, abs=1e-44)


@pytest.mark.parametrize(
    ("body", "labels"),
    [
        ({"label": [3, "8"], "steps": 4}, [3, 3, 8, 8, 8]),  # midway is on the other side
        ({"label": [3, 8], "steps": 5}, [3, 3, 3, 8, 8, 8]),
        ({"label": [3, 8], "steps": 4, "loop": True}, [3, 3, 8, 8, 8, 8, 3, 3]),
        ({"label": "7", "steps": 2}, [7, 7, 7]),
    ],
)
@pytest.mark.parametrize("key_points", [{"seeds": [1, 2]}, {"latents": [[0.5] * 16, [1] * 16]}])
def test_a_label_changes_midway(digits: Manifest, key_points, body, labels):
    found = frames_of(path_of(key_points | body, digits))[1]
    assert found is not None
    assert found.dtype == np.int64
    assert found.tolist() == labels


@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_parts_of_a_path_are_the_path(digits: Manifest, size: int):
    path = path_of({"seeds": [1, 2, 3], "steps": 9, "loop": True}, digits)
    parts = list(path.chunks(size))
    assert all(len(part.latents) <= size for part in parts)
    whole = frames_of(path)
    for i in range(2):
        assert np.array_equal(np.concatenate([part[i] for part in parts]), whole[i])


INVALID = [
    ({}, "seeds", "seeds is missing; give 2 to 64 seeds, or rows of latents"),
    ({"seeds": [1]}, "seeds", "seeds is [1]; seeds must be a list of 2 to 64 whole numbers with 0 <= seed < 2**53"),
    ({"seeds": [1] * 65}, "seeds", "seeds must be a list of 2 to 64"),
    ({"seeds": [1, -1]}, "seeds", "seeds[1] is -1"),
    ({"seeds": [1, 2**53]}, "seeds", "seeds[1] is 9007199254740992"),
    ({"seeds": [1, 2], "latents": [[0] * 16] * 2, "label": 1}, "seeds", "seeds and latents exclude each other"),
    ({"latents": [[0] * 16], "label": 1}, "latents", "latents must be a list of 2 to 64 rows"),
    ({"latents": [[0] * 16, [0] * 15], "label": 1}, "latents", "latents[1] has 15 numbers; toy needs 16"),
    ({"latents": [[0] * 16, [1e39] * 16], "label": 1}, "latents", "not a finite float32"),
    ({"latents": [[0] * 16] * 2}, "label", "label is missing; with latents, give class ids from 0 to 9"),
    ({"latents": [[0] * 16] * 2, "label": 1, "truncation": 1}, "truncation", "truncation and latents exclude"),
    ({"seeds": [1, 2], "steps": 1}, "steps", "steps is 1; steps must be a whole number from 2 to 240"),
    ({"seeds": [1, 2], "steps": 241}, "steps", "steps is 241"),
    ({"seeds": [1, 2], "steps": 4.0}, "steps", "steps is 4.0"),
    ({"seeds": [1, 2], "steps": None}, "steps", "steps is None"),
    ({"seeds": [1, 2, 3], "steps": 50}, "steps", "steps is 50; with 3 key points that is 101 frames"),
    ({"seeds": [1, 2], "steps": 51, "loop": True}, "steps", "102 frames, but a request is for at most 100"),
    (
        {"seeds": [1, 2], "label": [1, 2, 3]},
        "label",
        "label has 3 entries for 2 key points; give a single label, or one for each",
    ),
    ({"seeds": [1, 2], "label": [1]}, "label", "label must be a class id (0 or more), a class name, or a list of 2"),
    ({"seeds": [1, 2], "label": [1, "cat"]}, "label", "label is 'cat'; toy has class ids"),
    ({"seeds": [1, 2], "truncation": 0}, "truncation", "truncation is 0"),
    ({"seeds": [1, 2], "loop": 1}, "loop", "loop is 1; loop must be true or false"),
    ({"seeds": [1, 2], "format": "zip"}, "format", "format is 'zip'; format must be one of gif, webp, png, npy"),
    ({"seeds": [1, 2], "fps": 0}, "fps", "fps is 0; fps must be a whole number from 1 to 60"),
    ({"seeds": [1, 2], "fps": 61}, "fps", "fps is 61"),
    ({"seeds": [1, 2], "columns": 0}, "columns", "columns is 0"),
    ({"seeds": [1, 2], "quality": 101}, "quality", "quality is 101"),
    ({"seeds": [1, 2], "n": 3}, "n", "unknown field 'n'; expected one of model, seeds, latents, steps"),
    (b"[]", None, "the body is []; it must be a JSON object"),
]


@pytest.mark.parametrize(("body", "param", "message"), INVALID, ids=[str(body)[:40] for body, _, _ in INVALID])
def test_invalid_requests(digits: Manifest, body: Any, param: str | None, message: str):
    with pytest.raises(InvalidRequestError) as caught:
        path_of(body, digits)
    assert message in caught.value.message
    assert caught.value.param == param
    assert "\n" not in caught.value.message


def test_every_field_of_the_request_has_a_rule(digits: Manifest):
    """Or a wrong value of it would be an error of the service."""
    for name in InterpolateRequest.model_fields:
        with pytest.raises(InvalidRequestError, match=f"^{name} is "):
            path_of({"seeds": [1, 2]} | {name: {"no": "value"}}, digits)


def test_what_does_not_fit_an_unconditional_model_of_uniform_latents(make_manifest: MakeManifestFn):
    manifest = make_manifest(distribution="uniform")
    for more, message in (({"label": [1, 2]}, "toy is unconditional"), ({"truncation": 1}, "toy has uniform latents")):
        with pytest.raises(InvalidRequestError, match=message):
            path_of({"seeds": [1, 2]} | more, manifest)
