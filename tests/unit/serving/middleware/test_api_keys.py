"""API keys: who is let in, what the file may say, and that a key is never told."""

import asyncio
import hashlib
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from key_files import ALICE, BOB, CAROL, Clock, admits, bearer, check, keys_of, line, write
from starlette.datastructures import Headers

from gan_serving.errors import UnauthorizedError
from gan_serving.keys import new_key
from gan_serving.middleware import api_keys
from gan_serving.middleware.api_keys import LOOK_SECONDS, Keys
from gan_serving.settings import Settings

pytestmark = pytest.mark.usefixtures("no_key_is_told")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    write(path, "# who may call\n\n" + line("alice", ALICE) + "  " + line("bob", BOB).replace("\n", "  # on leave\n"))
    return path


def test_without_keys_the_service_is_open():
    keys = keys_of()
    assert not keys.enabled
    assert check(keys, Headers()) == ""
    assert check(keys, bearer("anything")) == ""


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Authorization": f"Bearer {ALICE}"}, "alice"),
        ({"authorization": f"bearer   {BOB} "}, "bob"),
        ({"X-API-Key": BOB}, "bob"),
        ({"x-api-key": f" {ALICE} "}, "alice"),
        ({"Authorization": "Basic dTpw", "X-API-Key": ALICE}, "alice"),
        ({"Authorization": f"Bearer {CAROL}"}, "environment-2"),
    ],
)
def test_a_key_in_either_header_gives_its_name(file: Path, headers: dict[str, str], name: str):
    keys = keys_of(api_keys=f"{'x' * 16}, {CAROL} ,", api_keys_file=str(file))
    assert keys.enabled
    assert check(keys, Headers(headers)) == name


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": ALICE},
        {"Authorization": f"Basic {ALICE}"},
        {"Authorization": f"Bearer {ALICE[:-1]}"},
        {"Authorization": f"Bearer {ALICE}x"},
        {"Authorization": f"Bearer {ALICE.upper()}"},
        {"Authorization": f"Bearer {hashlib.sha256(ALICE.encode()).hexdigest()}"},
        {"Authorization": f"Bearer {CAROL}", "X-API-Key": ALICE},
        {"X-API-Key": "\u00fc" * 30},
        {"X-API-Key": "x" * 10_000},
        {"Cookie": ALICE},
    ],
)
def test_everything_else_is_a_401(file: Path, headers: dict[str, str]):
    with pytest.raises(UnauthorizedError) as caught:
        check(keys_of(api_keys_file=str(file)), Headers(headers))
    error = caught.value
    assert (error.status, error.code, error.headers) == (401, "unauthorized", {"WWW-Authenticate": "Bearer"})
    assert "\n" not in error.message
    assert not any(len(value) > len("Bearer ") and value in error.message for value in headers.values())


@pytest.mark.parametrize("metrics_open", [True, False])
def test_what_needs_no_key(metrics_open: bool):
    keys = keys_of(api_keys=ALICE, metrics_open=metrics_open)
    for path in ("/livez", "/readyz", "/healthz", "/", "/docs.json", "/ui", "/ui/", "/ui/app.js", "/v2/health/ready"):
        assert keys.is_open("GET", path), path
        assert keys.is_open("HEAD", path), path
        assert not keys.is_open("POST", path), path
    for path in ("/generate", "/models", "/v2", "/v2/models/a/infer", "/uix", "/livez/", "//livez", "/docs.json/x", ""):
        assert not keys.is_open("GET", path), path
    assert keys.is_open("GET", "/metrics") is metrics_open


def test_a_revoked_key_works_no_longer_than_the_next_look(file: Path, clock: Clock, caplog: pytest.LogCaptureFixture):
    keys = keys_of(clock, api_keys_file=str(file))
    write(file, line("alice", ALICE) + line("carol", CAROL), age=5)
    clock.pass_by()
    assert [admits(keys, key) for key in (ALICE, BOB, CAROL)] == [True, False, True]
    assert f"{file} was read again: 2 API keys" in caplog.text


def test_keys_of_the_environment_stay_when_the_file_changes(file: Path, clock: Clock):
    keys = keys_of(clock, api_keys=CAROL, api_keys_file=str(file))
    write(file, line("bob", BOB), age=5)
    clock.pass_by()
    assert [admits(keys, key) for key in (ALICE, BOB, CAROL)] == [False, True, True]


def test_a_replaced_file_of_the_same_size_and_time_is_noticed(file: Path, clock: Clock):
    """As Kubernetes does it: a link that points to another folder."""
    keys = keys_of(clock, api_keys_file=str(file))
    other = file.with_name("other")
    write(other, file.read_text().replace("alice", "carol"))
    other.rename(file)
    clock.pass_by()
    assert check(keys, bearer(ALICE)) == "carol"


def test_a_file_that_is_written_twice_within_one_tick_of_its_clock(file: Path, clock: Clock):
    def write_now(key: str) -> None:
        file.write_text(line("alice", key))
        os.utime(file, (2**32, 2**32))  # the same tick, and not over yet

    write_now(ALICE)
    keys = keys_of(clock, api_keys_file=str(file))
    write_now(ALICE[:-1] + "z")
    clock.pass_by()
    assert not admits(keys, ALICE)


def test_a_file_that_breaks_later_changes_nothing(file: Path, clock: Clock, caplog: pytest.LogCaptureFixture):
    keys = keys_of(clock, api_keys_file=str(file))
    write(file, line("carol", CAROL) + ALICE + "\n", age=5)
    for _ in range(3):
        clock.pass_by()
        assert [admits(keys, key) for key in (ALICE, BOB, CAROL)] == [True, True, False]
    file.unlink()
    for _ in range(3):
        clock.pass_by()
        assert admits(keys, ALICE)
    lines = [record.message for record in caplog.records]
    assert len(lines) == 2, "each problem once, not with every request"
    assert lines[0].startswith("the API keys that were read before stay valid: GAN_API_KEYS_FILE: line 2 of ")
    assert lines[1].endswith(f" stay valid: GAN_API_KEYS_FILE: can't read {file}: No such file or directory")
    write(file, line("carol", CAROL), age=9)
    clock.pass_by()
    assert [admits(keys, key) for key in (ALICE, BOB, CAROL)] == [False, False, True]


def test_a_file_whose_file_system_hangs_holds_nobody_up(
    file: Path, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    keys, comes, reads = keys_of(clock, api_keys_file=str(file)), threading.Event(), []
    whole = api_keys._read_if_changed

    def hangs(*arguments: Any) -> Any:
        reads.append(arguments)
        assert comes.wait(30)
        return whole(*arguments)

    monkeypatch.setattr(api_keys, "_read_if_changed", hangs)

    async def main() -> None:
        clock.pass_by()
        turns = 0
        asked = [asyncio.create_task(keys.check(bearer(ALICE))) for _ in range(3)]
        while not all(task.done() for task in asked):
            turns += 1
            await asyncio.sleep(0.01)
        assert [task.result() for task in asked] == ["alice"] * 3
        assert turns > 10, "the loop went on meanwhile"
        clock.pass_by()
        began = time.monotonic()
        assert await keys.check(bearer(ALICE)) == "alice"
        assert time.monotonic() - began < LOOK_SECONDS / 2, "waited for once"
        (record,) = [record for record in caplog.records if "hang" in record.getMessage()]
        assert record.levelno == logging.ERROR
        assert len(reads) == 1
        write(file, line("bob", BOB))
        comes.set()
        while True:
            clock.pass_by()
            try:
                await keys.check(bearer(ALICE))
            except UnauthorizedError:
                return
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_after_a_quiet_time_nobody_gets_in_with_a_key_that_was_revoked(file: Path, clock: Clock):
    keys = keys_of(clock, api_keys_file=str(file))
    write(file, line("bob", BOB), age=1)
    clock.pass_by()

    async def main() -> list[object]:
        return await asyncio.gather(*(keys.check(bearer(ALICE)) for _ in range(5)), return_exceptions=True)

    assert {type(each) for each in asyncio.run(main())} == {UnauthorizedError}


def test_a_look_that_nobody_waited_for_to_the_end_is_not_taken_for_a_later_one(file: Path, clock: Clock):
    keys = keys_of(clock, api_keys_file=str(file))
    clock.pass_by()

    async def main() -> None:
        leaves = asyncio.create_task(keys.check(bearer(ALICE)))
        await asyncio.sleep(0)
        look = keys._looking
        assert look is not None
        leaves.cancel()
        await asyncio.wait([leaves, look])
        assert leaves.cancelled()
        write(file, line("bob", BOB), age=1)
        clock.pass_by()
        with pytest.raises(UnauthorizedError):
            await keys.check(bearer(ALICE))

    asyncio.run(main())


def test_an_emptied_file_lets_nobody_in(file: Path, clock: Clock, caplog: pytest.LogCaptureFixture):
    keys = keys_of(clock, api_keys_file=str(file))
    write(file, "# all revoked\n", age=5)
    clock.pass_by()
    assert keys.enabled
    assert not admits(keys, ALICE)
    assert f"{file} has no key any more: nobody can call" in caplog.text


def test_between_looks_the_file_is_left_alone(file: Path, clock: Clock):
    keys = keys_of(clock, api_keys_file=str(file))
    file.unlink()
    clock.now += LOOK_SECONDS / 2
    assert admits(keys, ALICE)


def test_nameless_keys_and_a_file_with_a_byte_order_mark(tmp_path: Path):
    key, text = new_key()
    path = tmp_path / "keys"
    write(path, ("\ufeff" + text.replace(text[7:], text[7:].upper()) + "\r\n").encode())
    assert check(keys_of(api_keys_file=str(path)), bearer(key)) == f"key-{text[7:15]}"


def test_a_key_with_letters_beyond_ascii_is_that_of_its_utf_8_bytes(file: Path):
    key = "schlüssel-" + "s" * 20
    write(file, line("dora", key))
    keys = Keys.from_settings(Settings(api_keys_file=str(file)))
    assert check(keys, Headers(raw=[(b"x-api-key", key.encode())])) == "dora"
