"""What is said of keys: files and settings that can't be read, and the command that makes a key."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from key_files import ALICE, BOB, bearer, check, keys_of, line, write

from gan_serving.settings import Settings, SettingsError

pytestmark = pytest.mark.usefixtures("no_key_is_told")


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
