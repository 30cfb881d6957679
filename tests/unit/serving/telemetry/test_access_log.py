"""One line of JSON for each request, whatever a client writes into it."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from gan_serving.process.output import Output
from gan_serving.settings import Settings
from gan_serving.telemetry.access_log import LOGGER_NAME, MAX_TEXT, AccessLog, AccessRecord

FIELDS = [
    "time", "request_id", "client", "key", "method", "path", "route", "status", "seconds", "bytes", "model", "images",
]  # fmt: skip
FORMAT_SECONDS = 100e-6  # 9 us measured; a loaded machine may take longer


def record(**changes: object) -> AccessRecord:
    fields = {"request_id": "id-1", "method": "POST", "path": "/generate", "route": "/generate", "status": 200}
    return AccessRecord(**fields | {"seconds": 0.0123456789, "bytes": 4321} | changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    found = logging.getLogger(LOGGER_NAME)
    yield found
    found.handlers.clear()
    found.propagate = True
    found.setLevel(logging.NOTSET)


def written(mode: str, *records: AccessRecord) -> list[str]:
    reading, writing = os.pipe()
    output = Output(writing)
    log = AccessLog.from_settings(Settings(access_log=mode), output)  # type: ignore[arg-type]
    for one in records:
        if log.wants(one.path):
            log.write(one)
    output.close()
    os.close(writing)
    with open(reading, encoding="ascii") as pipe:  # noqa: PTH123  # a descriptor has no path
        out = pipe.read()
    assert out == "" or out.endswith("\n")
    return out.split("\n")[:-1]


def test_a_line():
    (line,) = written("on", record(model="digits", images=4, key="alice", client="10.0.0.1"))
    found = json.loads(line)
    assert list(found) == FIELDS
    when = datetime.fromisoformat(found.pop("time"))
    assert when.utcoffset() == timedelta(0)
    assert abs(when.timestamp() - time.time()) < 60
    assert found == {
        "request_id": "id-1", "client": "10.0.0.1", "key": "alice", "method": "POST", "path": "/generate",
        "route": "/generate", "status": 200, "seconds": 0.012346, "bytes": 4321, "model": "digits", "images": 4,
    }  # fmt: skip


def test_what_is_not_known_is_null():
    (line,) = written("on", record())
    found = json.loads(line)
    assert (found["model"], found["key"], found["client"], found["images"]) == (None, None, None, 0)


@pytest.mark.parametrize(
    "text",
    [
        'a\nb{"status":200}',
        "a\r\nb",
        "\x00\x1b[31m",
        "\u2028\u2029\x85",
        '","status":500,"x":"',
        "%s %d",
        "\\",
        "ü\ud800",
    ],
)
def test_no_value_can_end_the_line_or_add_to_it(text: str):
    fields = ("request_id", "method", "path", "route", "model", "key", "client")
    (line,) = written("on", record(**dict.fromkeys(fields, text)))
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert list(found) == FIELDS
    assert [found[name] for name in fields] == [text] * len(fields)
    assert found["status"] == 200


def test_a_line_is_bounded():
    fields = ("request_id", "method", "path", "route", "model", "key", "client")
    (line,) = written("on", record(**dict.fromkeys(fields, "/" + "x" * 100_000)))
    assert len(line) < (MAX_TEXT + 30) * len(FIELDS)
    assert json.loads(line)["path"] == "/" + "x" * (MAX_TEXT - 1)


@pytest.mark.parametrize(
    ("mode", "paths"),
    [("on", ["/generate"]), ("off", []), ("all", ["/generate", "/livez", "/readyz", "/healthz", "/metrics"])],
)
def test_which_requests_are_logged(mode: str, paths: list[str]):
    requests = [record(path=path) for path in ("/generate", "/livez", "/readyz", "/healthz", "/metrics")]
    assert [json.loads(line)["path"] for line in written(mode, *requests)] == paths


def test_lines_come_once_and_go_to_no_other_log(caplog: pytest.LogCaptureFixture):
    for _ in range(3):
        assert len(written("on", record())) == 1
    assert caplog.records == []


def test_the_logger_can_be_turned_off(logger: logging.Logger):
    log = AccessLog.from_settings(Settings())
    assert log.wants("/generate")
    logger.setLevel(logging.WARNING)
    assert not log.wants("/generate")


TALKATIVE = """
from gan_serving.telemetry.access_log import AccessLog, AccessRecord
from gan_serving.process.output import OUTPUT
from gan_serving.process.output import Output
from gan_serving.settings import Settings

log = AccessLog.from_settings(Settings())
for _ in range(100 * 60):
    log.write(AccessRecord("i" * 200, "POST", "/generate", "/generate", 200, 0.1, 4321))
OUTPUT.close()
"""


def test_lines_of_workers_that_share_a_pipe_stay_whole():
    reading, writing = os.pipe()
    workers = [subprocess.Popen([sys.executable, "-c", TALKATIVE], stdout=writing) for _ in range(2)]
    os.close(writing)
    with open(reading, encoding="ascii") as pipe:  # noqa: PTH123  # a descriptor has no path
        lines = pipe.read().splitlines()
    assert [worker.wait() for worker in workers] == [0, 0]
    assert len(lines) == 2 * 100 * 60
    assert {json.loads(line)["request_id"] for line in lines} == {"i" * 200}


def test_a_bad_mode_is_refused():
    with pytest.raises(ValueError, match="access_log"):
        Settings(access_log="loud")  # type: ignore[arg-type]


def test_a_line_costs_next_to_nothing():
    one, now = record(model="digits", images=4, key="alice", client="10.0.0.1"), datetime.now().astimezone()
    began = time.process_time()
    for _ in range(1000):
        one.line(now)
    assert (time.process_time() - began) / 1000 < FORMAT_SECONDS
