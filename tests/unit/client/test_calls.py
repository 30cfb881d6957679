"""`GanClient` against a real HTTP service that misbehaves on demand."""

import itertools
import json
import re
import struct
import zipfile
import zlib

import httpx
import numpy as np
import pytest

import gan_client
from gan_client import GanClient, errors
from gan_client.types import SEED_LIMIT, GenerateRequest

NOT_GANWORKS = "does not look like a Ganworks service"
HTML = {"Content-Type": "text/html; charset=utf-8"}


def test_images_are_those_of_the_service(client, service):
    images = client.generate(3, label=7, seed=123)
    assert [image.png for image in images] == [service.png(seed, 7) for seed in (123, 124, 125)]
    assert [(image.seed, image.label, image.label_name) for image in images] == [
        (123, 7, "7"),
        (124, 7, "7"),
        (125, 7, "7"),
    ]
    assert images.model == "acgan"
    sent = service.received[0]
    assert sent.path == "/generate"
    assert sent.body == {"n": 3, "seed": 123, "label": 7, "format": "zip"}
    assert re.fullmatch("[0-9a-f]{32}", sent.headers["X-Request-ID"])
    assert images.request_id == sent.headers["X-Request-ID"]


def test_random_seed_is_chosen_here_and_in_range(client, service):
    first, second = client.generate(5), client.generate()
    seeds = [sent.body["seed"] for sent in service.received]
    assert seeds[0] != seeds[1]
    assert all(0 <= seed < SEED_LIMIT for seed in seeds)
    assert [image.seed for image in first] == list(range(seeds[0], seeds[0] + 5))
    assert len(second) == 1


def test_every_retry_sends_the_same_seed_and_request_id(client, service):
    service.script.extend([service.busy(503), service.busy(429)])
    images = client.generate(4)
    assert len(service.received) == 3
    assert len({sent.body["seed"] for sent in service.received}) == 1
    assert len({sent.headers["X-Request-ID"] for sent in service.received}) == 1
    assert images == client.generate(4, seed=images[0].seed)


def test_broken_connection_is_retried_with_the_same_body(client, service, act):
    service.script.append(act.DROP)
    images = client.generate(2, label=[3, 4])
    assert [image.label for image in images] == [3, 4]
    assert service.received[0].body == service.received[1].body


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"seeds": [5, 5, 9]}, {"n": 3, "seeds": [5, 5, 9]}),
        ({"seeds": np.array([5, 6]), "label": np.int64(2)}, {"n": 2, "seeds": [5, 6], "label": 2}),
        ({"latents": np.ones((2, 3), np.float32)}, {"n": 2, "latents": [[1.0] * 3] * 2}),
        ({"label": ["1", 2], "seed": 0}, {"n": 2, "seed": 0, "label": ["1", 2]}),
        ({"n": 1, "seed": 1, "truncation": np.float32(0.5)}, {"n": 1, "seed": 1, "truncation": 0.5}),
        ({"seed": SEED_LIMIT - 1, "model": "acgan"}, {"n": 1, "seed": SEED_LIMIT - 1, "model": "acgan"}),
    ],
)
def test_arguments_on_the_wire(client, service, arguments, sent):
    client.generate(**arguments)
    assert service.received[0].body == {**sent, "format": "zip"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, r"n is 0: it must be an integer from 1 to 100000"),
        ({"n": True}, r"n is True"),
        ({"n": 2.0}, r"n is 2\.0"),
        ({"seed": -1}, r"seed is -1: it must be an integer from 0 to 9007199254740991"),
        ({"seed": SEED_LIMIT}, r"seed is 9007199254740992"),
        ({"seed": SEED_LIMIT - 1, "n": 2}, r"with n = 2 it must be at most 9007199254740990"),
        ({"n": np.arange(3)}, r"n is array\(\[0, 1, 2\]\)"),
        ({"seeds": []}, r"seeds has 0 entries: give at least 1"),
        ({"seeds": 3}, r"seeds is 3: give a list"),
        ({"seeds": np.array(3)}, r"seeds is array\(3\): give a list"),
        ({"seeds": {1, 2}}, r"seeds is \{1, 2\}: give a list"),
        ({"seeds": itertools.count()}, r"n is 100001"),
        ({"seeds": [1, -2]}, r"seeds is -2"),
        ({"n": 3, "seeds": [1, 2]}, r"seeds has 2 entries for 3 images: give one for each"),
        ({"n": 3, "seeds": [1]}, r"seeds has 1 entry for 3 images: give one for each"),
        ({"seed": 1, "seeds": [1]}, r"seed and seeds are given: give one"),
        ({"label": ""}, r"label is ''"),
        ({"label": -1}, r"label is -1"),
        ({"label": []}, r"label has 0 entries: give at least 1"),
        ({"label": b"7"}, r"label is b'7': give a list"),
        ({"label": {1: 2}}, r"label is \{1: 2\}: give a list"),
        ({"label": np.array([[1, 2], [3, 4]])}, r"label is array\(\[1, 2\]\)"),
        ({"label": "\udcff"}, r"label is '\\udcff': a name has 1 to 200 characters that UTF-8 can hold"),
        ({"latents": np.ones((1, 2)) * 1j}, r"latents are not rows of numbers: Cannot cast"),
        ({"latents": [["a", "b"]]}, r"latents are not rows of numbers"),
        ({"n": 2, "label": [1, 2, 3]}, r"label has 3 entries"),
        (
            {"n": 2, "label": itertools.cycle([1, 2])},
            r"label has 100001 entries for 2 images: give a single label, or one for each",
        ),
        ({"latents": [1.0, 2.0]}, r"latents have shape \(2,\)"),
        ({"latents": [[1.0], [2.0, 3.0]]}, r"latents are not rows of numbers"),
        ({"latents": [[float("nan")]]}, r"latents hold NaN"),
        ({"truncation": 0}, r"truncation is 0: it must be a number above 0 and at most 10"),
        ({"truncation": float("nan")}, r"truncation is nan"),
        ({"truncation": 10.5}, r"truncation is 10\.5"),
        ({"model": ""}, r"model is ''"),
        ({"model": 5}, r"model is 5: a name is a str"),
    ],
)
def test_wrong_arguments_are_named_and_not_sent(client, service, arguments, message):
    with pytest.raises(errors.InvalidArgumentError, match=message) as caught:
        client.generate(**arguments)
    assert isinstance(caught.value, ValueError)
    assert service.received == []


@pytest.mark.parametrize(
    ("status", "kind", "tries"),
    [
        (400, errors.InvalidRequestError, 1),
        (401, errors.UnauthorizedError, 1),
        (404, errors.NotFoundError, 1),
        (409, errors.StatusError, 1),
        (413, errors.RequestTooLargeError, 1),
        (429, errors.QueueFullError, 3),
        (500, errors.InternalServerError, 1),
        (502, errors.UnavailableError, 3),
        (503, errors.UnavailableError, 3),
        (504, errors.ServiceDeadlineError, 3),
    ],
)
def test_error_statuses(client, service, status, kind, tries):
    service.script.extend([service.error(status, "a_code", "It is so", "label", **{"Retry-After": "0.01"})] * tries)
    with pytest.raises(errors.GanError, match=r"^It is so") as caught:
        client.generate(label=3)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.param) == (status, "a_code", "label")
    assert len(service.received) == tries
    assert error.request_id == service.received[0].headers["X-Request-ID"]
    assert str(error).endswith(f"[request id {error.request_id}]")
    assert kind.advice in str(error)


@pytest.mark.parametrize(
    ("status", "code", "param", "kind", "advice"),
    [
        (429, "queue_full", None, errors.QueueFullError, "Ask again later, or for fewer images in one call."),
        (429, "rate_limited", None, errors.RateLimitedError, "Ask less often, or for fewer images at once."),
        (503, "not_ready", None, errors.UnavailableError, "`gan-client health` says when it is ready."),
        (503, "too_many_connections", None, errors.UnavailableError, "Open fewer connections at once."),
        (404, "unknown_model", "model", errors.NotFoundError, "`gan-client models` lists the generators."),
        (404, "not_found", None, errors.NotFoundError, "It is so"),
        (400, "invalid_request", "n", errors.InvalidRequestError,
         "Use client.stream() or `gan-client dataset` for more, or raise the service's GAN_MAX_N."),
        (400, "invalid_request", "seed", errors.InvalidRequestError, "It is so"),
    ],
)  # fmt: skip
def test_code_says_what_kind_of_error_and_what_to_do(client, service, status, code, param, kind, advice):
    service.script.append(service.error(status, code, "It is so", param))
    with pytest.raises(errors.StatusError) as caught:
        client.with_options(max_retries=0).generate()
    assert type(caught.value) is kind
    assert str(caught.value).partition(" [request id")[0].endswith(advice)


def test_who_catches_every_429_catches_the_rate_limit_too():
    assert issubclass(errors.RateLimitedError, errors.QueueFullError)


def test_message_of_the_service_is_one_harmless_line(client, service):
    service.script.append(service.error(400, "x", "bad\n\x1b[31mred\x07 " + "y" * 5000))
    with pytest.raises(errors.InvalidRequestError) as caught:
        client.generate()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


def test_proxy_in_front_of_a_service_that_is_down(service, reply):
    service.script.append(reply(502, b"<html>Bad Gateway</html>", HTML))
    with (
        GanClient(service.url, max_retries=0) as client,
        pytest.raises(errors.UnavailableError, match="502 Bad"),
    ):
        client.generate()


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, b"<html><title>It works</title></html>", HTML),
        (200, b'{"hello": "world"}', {"Content-Type": "application/json"}),
        (200, b"", {}),
        (200, b"not gzip", {"Content-Encoding": "gzip"}),
        (204, b"", {}),
        (302, b"", {"Location": "https://example.org/login"}),
        (404, b"<html>Not Found</html>", HTML),
        (400, b'[{"msg": "another shape"}]', {"Content-Type": "application/json"}),
    ],
)
def test_other_servers_are_recognised(client, service, reply, status, body, headers):
    service.script.append(reply(status, body, headers))
    with pytest.raises(errors.UnexpectedResponseError, match=f"{service.url}.*{NOT_GANWORKS}"):
        client.generate()
    assert len(service.received) == 1


def _bomb_png() -> bytes:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\r" + chunk + struct.pack(">I", zlib.crc32(chunk))


def _flip(archive: bytes) -> bytes:
    """The archive with a byte of its first image changed, so that the CRC is wrong."""
    at = archive.index(b"00000.png") + len("00000.png") + 10
    return archive[:at] + bytes([archive[at] ^ 0xFF]) + archive[at + 1 :]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("half", "broken zip archive"),
        ("lzma", "compressed in another way (14)"),
        ("crc", "broken zip archive"),
        ("no index", "without 'images.json'"),
        ("index not json", "wrong images.json"),
        ("index bomb", "inflates to over"),
        ("image missing", "without '00001.png'"),
        ("no file names", "without `file`"),
        ("not a png", "not a PNG"),
        ("huge png", "60000 x 60000 pixels"),
        ("two sizes", "several sizes"),
        ("one image too few", "1 images where 2 were expected"),
        ("other seeds", "other seeds"),
    ],
)
def test_archives_that_are_not_the_contract(client, service, reply, broken_png, wrong, reason):
    index, pngs = service.draw(GenerateRequest(n=2, seed=10))
    files = {"00000.png": pngs[0], "00001.png": pngs[1]}
    good = service.zip(index, files)
    body = {
        "half": lambda: good[: len(good) // 2],
        "lzma": lambda: service.zip(index, files, zipfile.ZIP_LZMA),
        "crc": lambda: _flip(good),
        "no index": lambda: service.zip(index, files).replace(b"images.json", b"jmages.json"),
        "index not json": lambda: service.zip(b"{", files),
        "index bomb": lambda: service.zip(b" " * (2**26 + 1), files),
        "image missing": lambda: service.zip(index, {"00000.png": pngs[0]}),
        "no file names": lambda: service.zip(
            b'{"model": "a", "images": [{"seed": 10, "label": 1}, {"seed": 11, "label": 1}]}', files
        ),
        "not a png": lambda: service.zip(index, {**files, "00001.png": b"GIF89a"}),
        "huge png": lambda: service.zip(index, {**files, "00001.png": _bomb_png()}),
        "two sizes": lambda: service.zip(index, {**files, "00001.png": broken_png}),
        "one image too few": lambda: service.zip(service.draw(GenerateRequest(n=1, seed=10))[0], files),
        "other seeds": lambda: service.zip(service.draw(GenerateRequest(n=2, seed=11))[0], files),
    }[wrong]()
    service.script.append(reply(200, body, {"Content-Type": "application/zip"}))
    with pytest.raises(errors.UnexpectedResponseError, match=f"{re.escape(reason)}.*{NOT_GANWORKS}"):
        client.generate(2, seed=10)


def test_a_newer_service_may_say_more(client, service, reply):
    index, pngs = service.draw(GenerateRequest(n=1, seed=10))
    newer = json.dumps(index.model_dump() | {"quality": 0.9}).encode()
    service.script.append(reply(200, service.zip(newer, {"00000.png": pngs[0]}), {"Content-Type": "application/zip"}))
    assert client.generate(1, seed=10)[0].seed == 10


def test_file_names_of_the_archive_are_only_looked_up(client, service, reply, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    png = service.png(1, 0)
    index = b'{"model": "m", "images": [{"seed": 1, "label": 0, "label_name": "../x", "file": "../../evil.png"}]}'
    service.script.append(reply(200, service.zip(index, {"../../evil.png": png}), {}))
    images = client.generate(seed=1)
    assert images[0].png == png
    assert list(tmp_path.iterdir()) == []
    assert [path.name for path in images.save(tmp_path / "out")] == ["0000_seed-1_label-0-x.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_models(client, service, reply):
    [info] = client.models.list()
    assert (info.name, info.image_size, info.class_names) == ("acgan", (6, 4), service.class_names)
    service.script.append(reply(200, b"<html>", HTML))
    with pytest.raises(errors.UnexpectedResponseError, match=NOT_GANWORKS):
        client.models.list()


def test_health(client, service, reply, act):
    assert client.health()
    service.script.append(reply(503, b"\n"))
    health = client.health()
    assert not health
    assert health.status == 503
    service.script.append(act.DROP)
    with pytest.raises(errors.ConnectionFailedError):
        client.health()
    assert len(service.received) == 3  # readiness is about now: every question is asked once
    for kind in (HTML, {"Content-Type": "application/json"}, {}):
        service.script.append(reply(200, b"", kind))
        with pytest.raises(errors.UnexpectedResponseError, match=NOT_GANWORKS):
            client.health()


def test_transport_is_injected():
    def application(environ, start_response):
        found = environ["PATH_INFO"] == "/readyz"
        start_response("200 OK" if found else "404 Not Found", [("Content-Type", "text/plain")])
        return [b"\n"]

    with GanClient(transport=httpx.WSGITransport(app=application)) as client:
        assert client.health()


def test_public_names_are_sorted_and_there():
    assert gan_client.__all__ == sorted(gan_client.__all__)
    assert all(getattr(gan_client, name).__name__ == name for name in gan_client.__all__)
    assert set(gan_client.__all__) <= set(dir(gan_client))
    assert not hasattr(gan_client, "no_such_name")
    tree = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert tree <= set(gan_client.__all__)
    assert all(name in (errors.__doc__ or "") for name in tree)
