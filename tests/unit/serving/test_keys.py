"""API keys: who is let in, what the file may say, and that a key is never told."""

import asyncio
import hashlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from gan_serving import keys as keys_module
from gan_serving.errors import UnauthorizedError
from gan_serving.keys import LOOK_SECONDS, Keys, new_key
from gan_serving.settings import Settings, SettingsError

ALICE, BOB, CAROL = "alice-" + "a" * 20, "bob-" + "b" * 20, "carol-" + "c" * 20
LONG_AGO = 1_000_000_000  # seconds: a modification time that no later write can share


def line(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}\n"


def check(keys: Keys, headers: Mapping[str, str]) -> str:
    return asyncio.run(keys.check(headers))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self) -> None:
        self.now += LOOK_SECONDS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def no_key_is_told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Not in any line of the log, whatever a test does."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "asyncio")  # which selector each loop uses
    yield
    for key in (ALICE, BOB, CAROL):
        assert key not in caplog.text
        assert hashlib.sha256(key.encode()).hexdigest() not in caplog.text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    write(path, "# who may call\n\n" + line("alice", ALICE) + "  " + line("bob", BOB).replace("\n", "  # on leave\n"))
    return path


def write(path: Path, text: str | bytes, age: int = 0) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, (LONG_AGO - age, LONG_AGO - age))


def keys_of(clock: Clock | None = None, **settings: object) -> Keys:
    return Keys.from_settings(Settings(**settings), clock or Clock())  # type: ignore[arg-type]


def bearer(key: str) -> Headers:
    return Headers({"Authorization": f"Bearer {key}"})


def admits(keys: Keys, key: str) -> bool:
    try:
        check(keys, bearer(key))
    except UnauthorizedError:
        return False
    return True


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
    whole = keys_module._read_if_changed

    def hangs(*arguments: Any) -> Any:
        reads.append(arguments)
        assert comes.wait(30)
        return whole(*arguments)

    monkeypatch.setattr(keys_module, "_read_if_changed", hangs)

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


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "has no key"),
        ("# nothing\n\n", "has no key"),
        (ALICE, "line 1 of"),
        (line("alice", ALICE) + "bob:" + BOB, "line 2 of"),
        (line("alice", ALICE).replace(":", " "), "line 1 of"),
        (line("alice", ALICE)[:-2], "line 1 of"),
        (line("al ice", ALICE), "line 1 of"),
        (line("", ALICE), "line 1 of"),
        (line("a" * 65, ALICE), "line 1 of"),
        (b"\xff\xfe\x00", "line 1 of"),
        (b"#" * (2**20 + 1), "more than 1048576 bytes"),
    ],
)
def test_a_broken_file_is_one_clear_line_at_the_start(tmp_path: Path, content: str | bytes, what: str):
    path = tmp_path / "keys"
    write(path, content)
    with pytest.raises(SettingsError) as caught:
        keys_of(api_keys_file=str(path))
    message = str(caught.value)
    assert message.startswith("GAN_API_KEYS_FILE: ")
    assert what in message
    assert str(path) in message
    assert "\n" not in message
    assert ALICE not in message
    assert BOB not in message


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, path: str):
    with pytest.raises(SettingsError, match=r"^GAN_API_KEYS_FILE: can't read .*: (No such file|Is a directory)"):
        keys_of(api_keys_file=str(tmp_path / path))


@pytest.mark.parametrize(
    "text", ["", " ", ",", "short", "fifteen-letters", "with a space in it", "ü" * 20, f"{ALICE},b"]
)
def test_a_bad_key_in_the_environment_is_not_shown(text: str):
    with pytest.raises(SettingsError) as caught:
        keys_of(api_keys=text)
    message = str(caught.value)
    assert message.startswith("GAN_API_KEYS")
    assert "\n" not in message
    assert not text.strip(" ,") or text not in message


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_an_empty_name_of_a_file_opens_nothing(name: str):
    with pytest.raises(SettingsError, match="GAN_API_KEYS_FILE is empty"):
        keys_of(api_keys_file=name)


def test_settings_do_not_show_keys():
    assert ALICE not in repr(Settings(api_keys=ALICE))


def test_nameless_keys_and_a_file_with_a_byte_order_mark(tmp_path: Path):
    key, text = new_key()
    path = tmp_path / "keys"
    write(path, ("\ufeff" + text.replace(text[7:], text[7:].upper()) + "\r\n").encode())
    assert check(keys_of(api_keys_file=str(path)), bearer(key)) == f"key-{text[7:15]}"


def test_the_command_makes_a_key_that_works(tmp_path: Path):
    outputs = []
    for _ in range(2):
        command = [sys.executable, "-m", "gan_serving.keys", "alice"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        (key,) = re.findall(r"the key is (gan_[\w-]+) ", done.stderr)
        outputs.append({"key": key, "line": done.stdout})
    assert outputs[0]["key"] != outputs[1]["key"]
    assert len(outputs[0]["key"]) > 40
    path = tmp_path / "keys"
    write(path, outputs[0]["line"] + outputs[1]["line"])  # as `>> keys` does
    keys = keys_of(api_keys_file=str(path))
    assert [check(keys, bearer(output["key"])) for output in outputs] == ["alice", "alice"]
    assert check(keys_of(api_keys=outputs[0]["key"]), bearer(outputs[0]["key"])) == "environment-1"


@pytest.mark.parametrize("arguments", [["--help"], ["a", "b"], ["two words"], ["a:b"]])
def test_the_command_refuses_with_one_line(arguments: list[str]):
    command = [sys.executable, "-m", "gan_serving.keys", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_key_with_letters_beyond_ascii_is_that_of_its_utf_8_bytes(file: Path):
    key = "schlüssel-" + "s" * 20
    write(file, line("dora", key))
    keys = Keys.from_settings(Settings(api_keys_file=str(file)))
    assert check(keys, Headers(raw=[(b"x-api-key", key.encode())])) == "dora"
