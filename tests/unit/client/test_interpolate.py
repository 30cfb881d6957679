"""`interpolate`, `frames`, `render` and `latents`: what is sent, and what is made of the answer."""

import base64
import io
import json

import numpy as np
import pytest

from gan_client import errors

NOT_GANWORKS = "does not look like a Ganworks service"


def headers(media_type, **more):
    return {"Content-Type": media_type, "X-Gan-Model": "acgan", **more}


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"seeds": [1, 2]}, {"seeds": [1, 2]}),
        (
            {"seeds": np.array([5, 6]), "label": ["1", 2], "steps": 8, "loop": True, "truncation": 0.5},
            {"seeds": [5, 6], "label": ["1", 2], "steps": 8, "loop": True, "truncation": 0.5},
        ),
        ({"latents": np.eye(2, dtype=np.float32), "model": "m"}, {"latents": [[1.0, 0.0], [0.0, 1.0]], "model": "m"}),
        ({"seeds": [1, 2], "fps": 30, "format": "webp", "quality": 80}, {"seeds": [1, 2], "fps": 30, "quality": 80}),
        ({"seeds": [1, 2], "format": "png", "columns": 4}, {"seeds": [1, 2], "columns": 4}),
    ],
)
def test_animation(client, service, reply, tmp_path, arguments, sent):
    kind = arguments.get("format", "gif")
    service.script.append(reply(200, b"a picture", headers(f"image/{kind}", **{"X-Gan-Frames": "17"})))
    motion = client.interpolate(**arguments)
    defaults = {"steps": 16, "loop": False, "fps": 12, "format": kind}
    assert service.received[0].path == "/interpolate"
    assert service.received[0].body == {**defaults, **sent}
    assert (motion.data, motion.media_type) == (b"a picture", f"image/{kind}")
    assert (motion.frames, motion.model) == (17, "acgan")
    assert motion.request_id == service.received[0].headers["X-Request-ID"]
    assert motion.save(tmp_path / "new" / f"way.{kind}").read_bytes() == b"a picture"
    shown = motion._repr_mimebundle_()
    assert base64.b64decode(shown[f"image/{kind}"]) == b"a picture"
    assert "frames=17" in shown["text/plain"]


def test_frames(client, service, reply):
    array = np.random.default_rng(0).integers(0, 256, (17, 6, 4, 1), np.uint8)
    service.script.append(reply(200, npy(array), headers("application/x-npy")))
    frames = client.frames([1, 2], label=7, loop=True)
    assert np.array_equal(frames.arrays, array)
    assert frames.arrays.flags.writeable
    assert len(frames) == 17
    assert service.received[0].body["format"] == "npy"
    assert service.received[0].body["loop"] is True


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x93NUMPY", "a broken npy file"),
        (npy(np.zeros((2, 6, 4, 1), np.uint8))[:-1], "a broken npy file"),
        (npy(np.zeros((2, 6, 4), np.uint8)), r"uint8 of shape \(2, 6, 4\)"),
        (npy(np.zeros((2, 6, 4, 1), np.float32)), "float32 of shape"),
        (npy(np.zeros((2, 6, 4, 2), np.uint8)), r"of shape \(2, 6, 4, 2\)"),
        (npy(np.array([{"a": 1}], dtype=object)), "another kind of array"),
        (npy(np.zeros((1, 6, 4, 1), np.uint8)).replace(b"(1, 6", b"(9, 6"), "a broken npy file"),
    ],
)
def test_arrays_that_are_not_the_contract(client, service, reply, content, reason):
    service.script.append(reply(200, content, headers("application/x-npy")))
    with pytest.raises(errors.UnexpectedResponseError, match=f"{reason}.*{NOT_GANWORKS}"):
        client.frames([1, 2])


@pytest.mark.parametrize("call", ["interpolate", "frames"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither seeds nor latents are given: give 2 to 64"),
        ({"seeds": [1, 2], "latents": np.eye(2)}, "seeds and latents are given"),
        ({"seeds": [1]}, "seeds has 1 entry: give 2 to 64"),
        ({"seeds": []}, "seeds has 0 entries"),
        ({"seeds": range(65)}, "seeds has 65 entries"),
        ({"seeds": [1, -2]}, "seeds is -2"),
        ({"latents": [[1.0, 2.0]]}, "latents has 1 entry: give 2 to 64"),
        ({"seeds": [1, 2], "label": [1]}, "label has 1 entry for 2 seeds: give a single label, or one for each"),
        (
            {"seeds": [1, 2], "label": [1, 2, 3]},
            "label has 3 entries for 2 seeds: give a single label, or one for each",
        ),
        ({"seeds": [1, 2], "steps": 1}, "steps is 1: it must be an integer from 2 to 240"),
        ({"latents": np.eye(2), "truncation": 1.0}, r"truncation is 1\.0, but latents are taken as they are"),
    ],
)
def test_wrong_arguments_are_named_and_not_sent(client, service, call, arguments, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        getattr(client, call)(**arguments)
    assert service.received == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fps": 61}, "fps is 61: it must be an integer from 1 to 60"),
        ({"columns": 0}, "columns is 0"),
        ({"quality": 101}, "quality is 101: it must be an integer from 1 to 100"),
        ({"format": "bmp"}, "format is 'bmp': it must be one of gif, webp, png"),
        ({"format": None}, "format is None: it must be one of gif, webp, png"),
    ],
)
def test_wrong_arguments_of_a_picture(client, service, arguments, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        client.interpolate([1, 2], **arguments)
    assert service.received == []


@pytest.mark.parametrize("kind", [None, "gif", "ndjson", ["png"]])
def test_what_is_no_format_of_a_picture_is_not_sent(client, service, kind):
    with pytest.raises(errors.InvalidArgumentError, match="it must be one of png, webp, jpeg, npy, zip, json"):
        client.render(4, format=kind)
    assert service.received == []


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("png", "image/png"),
        ("webp", "image/webp"),
        ("jpeg", "image/jpeg"),
        ("npy", "application/x-npy"),
        ("zip", "application/zip"),
        ("json", "application/json"),
    ],
)
def test_rendered_file(client, service, reply, tmp_path, kind, media_type):
    service.script.append(reply(200, b"a file", headers(f"{media_type}; x=y")))
    file = client.render(4, label=7, seed=5, format=kind, columns=2)
    assert service.received[0].body == {"n": 4, "seed": 5, "label": 7, "format": kind, "columns": 2}
    assert (file.data, file.media_type, file.seed, file.model) == (b"a file", media_type, 5, "acgan")
    assert file.save(tmp_path / "file").read_bytes() == b"a file"
    assert set(file._repr_mimebundle_()) == {"text/plain", media_type} - (
        {media_type} if "app" in media_type else set()
    )


def test_seed_of_a_rendered_file(client, service, reply):
    service.script.extend([reply(200, b"x", headers("image/png"))] * 3)
    assert client.render(2).seed == service.received[0].body["seed"]
    assert client.render(seeds=[8, 3]).seed == 8
    assert client.render(latents=[[1.0]]).seed is None


@pytest.mark.parametrize(
    "call", [lambda it: it.render(2), lambda it: it.interpolate([1, 2]), lambda it: it.frames([1, 2])]
)
def test_other_servers_are_recognised(client, service, reply, call):
    service.script.append(reply(200, b"<html>", {"Content-Type": "text/html"}))
    with pytest.raises(errors.UnexpectedResponseError, match=f"200 text/html where .* was expected.*{NOT_GANWORKS}"):
        call(client)


def test_latents(client, service, reply):
    rows = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    body = {"model": "acgan", "latents": rows.tolist(), "labels": [4, 2]}
    service.script.append(reply(200, json.dumps(body).encode(), headers("application/json")))
    drawn = client.latents([7, 9], truncation=0.5)
    assert service.received[0].path == "/latents"
    assert service.received[0].body == {"seeds": [7, 9], "truncation": 0.5}
    assert drawn.arrays.dtype == np.float32
    assert np.array_equal(drawn.arrays, rows)
    assert (drawn.labels, drawn.model, len(drawn)) == ([4, 2], "acgan", 2)
    with pytest.raises(errors.InvalidArgumentError, match="seeds has 0 entries: give at least 1"):
        client.latents([])


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "latents": [[1.0]], "labels": None},
        {"model": "m", "latents": [[1.0], [1.0, 2.0]], "labels": None},
        {"model": "m", "latents": [[1.0], [2.0]], "labels": [1]},
        {"model": "m", "latents": [["x"], [2.0]], "labels": None},
    ],
)
def test_latents_that_are_not_the_contract(client, service, reply, body):
    service.script.append(reply(200, json.dumps(body).encode(), headers("application/json")))
    with pytest.raises(errors.UnexpectedResponseError, match=NOT_GANWORKS):
        client.latents([1, 2])


def test_model_pages(client, service, reply):
    service.script.append(reply(200, "# für digits".encode(), {"Content-Type": "text/markdown; charset=utf-8"}))
    assert client.models.card("a b/ü") == "# für digits"
    assert service.received[0].path == "/models/a%20b%2F%C3%BC/card"
    service.script.append(reply(200, service.png(1, 1), {"Content-Type": "image/png"}))
    assert client.models.preview("acgan") == service.png(1, 1)
    for call in (client.models.card, client.models.preview, client.models.get):
        service.script.append(reply(200, b"<html>", {"Content-Type": "text/html"}))
        with pytest.raises(errors.UnexpectedResponseError, match=NOT_GANWORKS):
            call("acgan")
        with pytest.raises(errors.InvalidArgumentError, match="name is ''"):
            call("")
    service.script.append(service.error(404, "unknown_model", "model 'x' is unknown", "model"))
    with pytest.raises(errors.NotFoundError, match=r"^model 'x' is unknown"):
        client.models.get("x")
