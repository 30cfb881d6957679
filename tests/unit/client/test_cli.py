"""`gan-client` as a process of its own."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest
from one_line import assert_one_line
from PIL import Image

import gan_client as gan_client_package
from gan_client import program
from gan_client.types import GenerateRequest

COMMAND = [sys.executable, "-m", "gan_client"]


@pytest.fixture
def gan_client(run_command, tmp_path):
    """Run to the end; a traceback is a failure whatever the test asks for."""

    def run(*arguments, **environment):
        done = run_command("gan-client", *arguments, cwd=tmp_path, env={"NO_COLOR": "1", **environment})
        assert "Traceback" not in done.stderr
        return done

    return run


def test_sample_writes_images_sheet_and_one_line(gan_client, service, tmp_path):
    done = gan_client("sample", "--n", "5", "--label", "7", "--seed", "123", "--url", service.url)
    assert done.returncode == 0
    assert done.stderr == ""
    assert re.fullmatch(
        r"5 images of 'acgan', label 7, seeds 123-127 -> samples/ "
        r"\(sheet: samples/sheet\.png\) in \d+\.\d\d s\n",
        done.stdout,
    )
    written = {path.name: path.read_bytes() for path in (tmp_path / "samples").iterdir()}
    with Image.open(tmp_path / "samples" / "sheet.png") as sheet:
        assert sheet.size == (3 * 4 + 4 * 2, 2 * 6 + 3 * 2)
    del written["sheet.png"]
    assert written == {f"000{i}_seed-{123 + i}_label-7.png": service.png(123 + i, 7) for i in range(5)}


def test_sample_as_json_and_again_from_its_seed(gan_client, service, tmp_path):
    first = gan_client("sample", "--n", "12", "--labels", "0-9", "--columns", "6", "--out", "a", "--json",
                       GAN_URL=service.url)  # fmt: skip
    assert first.returncode == 0
    record = json.loads(first.stdout)
    assert set(record) == {"model", "seeds", "labels", "files", "sheet", "seconds", "request_id"}
    assert record["model"] == "acgan"
    assert record["labels"] == [*range(10), 0, 1]
    assert record["seeds"] == list(range(record["seeds"][0], record["seeds"][0] + 12))
    assert record["request_id"] == service.received[0].headers["X-Request-ID"]
    assert record["sheet"] == "a/sheet.png"
    seed = str(record["seeds"][0])
    again = gan_client("sample", "--n", "12", "--labels", "0-9", "--seed", seed, "--out", "b", "--quiet",
                       GAN_URL=service.url)  # fmt: skip
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    for name in record["files"]:
        assert (tmp_path / name).read_bytes() == (tmp_path / "b" / name.removeprefix("a/")).read_bytes()


def test_sample_retries_with_the_same_seed(gan_client, service):
    service.script.extend([service.busy(503), service.busy(503)])
    done = gan_client("sample", "--n", "2", "--url", service.url, "--quiet")
    assert done.returncode == 0
    assert len(service.received) == 3
    assert len({sent.body["seed"] for sent in service.received}) == 1


def test_class_names_are_safe_in_files_and_on_the_terminal(gan_client, service, tmp_path):
    service.class_names = ["../../evil", "\x1b]0;title\x07", "猫/犬"]
    done = gan_client("sample", "--n", "3", "--labels", "0-2", "--seed", "1", "--url", service.url)
    assert done.returncode == 0
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == [
        "samples/0000_seed-1_label-0-evil.png",
        "samples/0001_seed-2_label-1-0-title.png",
        "samples/0002_seed-3_label-2-猫-犬.png",
        "samples/sheet.png",
    ]
    ascii_terminal = gan_client("sample", "--label", "猫/犬", "--url", service.url, PYTHONIOENCODING="ascii")
    assert ascii_terminal.returncode == 0
    assert "label 2 (\\u732b/\\u72ac)" in ascii_terminal.stdout
    assert "\x1b" not in gan_client("models", "--url", service.url).stdout


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("unknown label", "label 'horse' is not a class of 'acgan': give 0 to 9 or a class name"),
        ("html", "does not look like a Ganworks service"),
        ("half an archive", "does not look like a Ganworks service"),
        ("damaged pixels", "not a readable PNG"),
        ("silence", "within 0.5 s"),
    ],
)
def test_failed_request_writes_nothing(gan_client, service, act, reply, broken_png, tmp_path, case, message):
    index, pngs = service.draw(GenerateRequest(n=1, seed=1))
    archive = service.zip(index, {"00000.png": pngs[0]})
    arguments = ["sample", "--seed", "1", "--url", service.url]
    if case == "unknown label":
        arguments += ["--label", "horse"]
    elif case == "html":
        service.script.append(reply(200, b"<html>It works</html>", {"Content-Type": "text/html"}))
    elif case == "half an archive":
        service.script.append(reply(200, archive[: len(archive) // 2]))
    elif case == "damaged pixels":
        service.script.append(reply(200, service.zip(index, {"00000.png": broken_png})))
    else:
        service.script.append(act.HOLD)
        arguments += ["--timeout", "0.5"]
    done = gan_client(*arguments)
    assert done.returncode == (2 if case == "unknown label" else 1)
    assert done.stdout == ""
    assert_one_line(done.stderr)
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_unreachable_service_is_named(gan_client, refused_url, tmp_path):
    done = gan_client("sample", "--retries", "0", "--url", refused_url)
    assert done.returncode == 1
    assert_one_line(done.stderr)
    assert refused_url in done.stderr
    assert "bentoml serve" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_out_that_is_no_folder_costs_no_request(gan_client, service, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in ("file", "file/below"):
        done = gan_client("sample", "--out", out, "--url", service.url)
        assert done.returncode == 1
        assert_one_line(done.stderr)
        assert f"can't write to {out}: file is not a folder" in done.stderr
    assert service.received == []
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", ["sample", "dataset", "interpolate"])
def test_a_place_that_nobody_can_look_at_is_named(gan_client, service, tmp_path, command):
    """As a folder below one that is closed to the user: the system says no to the mere question what is there."""
    out = f"{'x' * 300}/a"
    done = gan_client(command, "--n", 4, "--out", out, "--url", service.url)
    assert done.returncode == 1
    assert_one_line(done.stderr)
    assert re.match(rf"gan-client: can't (write to|read) {out}: .*; give another", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_sheet_that_can_not_be_replaced_leaves_no_temporary_files(gan_client, service, tmp_path):
    (tmp_path / "out" / "sheet.png" / "taken").mkdir(parents=True)
    done = gan_client("sample", "--out", "out", "--force", "--url", service.url)
    assert done.returncode == 1
    assert_one_line(done.stderr)
    assert "can't write to out" in done.stderr
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n", "0"], "n is 0: it must be an integer from 1 to 100000"),
        (["--n", "many"], "n is 'many': it must be an integer from 1 to 100000"),
        (["--n", "1.5"], "n is 1.5"),
        (["--n", "1" * 5000], "n is '111"),
        (["--seed", "-1"], "seed is -1: it must be an integer from 0 to 9007199254740991"),
        (["--seed", str(2**53)], "seed is 9007199254740992"),
        (["--seed", str(2**53 - 1), "--n", "2"], "with n = 2 it must be at most 9007199254740990"),
        (["--truncation", "0"], "truncation is 0: it must be a number above 0 and at most 10"),
        (["--truncation", "-0.5"], "truncation is -0.5"),
        (["--label", ""], "label is ''"),
        (["--label", "-3"], "label is -3"),
        (["--labels", ""], "labels is ''"),
        (["--labels", "5-2"], "labels has '5-2'"),
        (["--label", "1", "--labels", "0-9"], "label is '1' and labels is '0-9'"),
        (["--columns", "0"], "columns is 0: it must be an integer from 1 to 1000"),
        (["--timeout", "0"], "timeout is 0"),
        (["--url", "localhost:3000"], "url is 'localhost:3000': it must be http://"),
        (["--api-key", "a\tb"], "the API key"),
        (["--no-such-option"], "--no-such-option"),
        (["surplus"], "surplus"),
        (["--n"], "--n"),
    ],
)
def test_wrong_arguments(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert program.run(["sample", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert_one_line(printed.err)
    assert message in printed.err
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_end_the_process_with_2(gan_client):
    for arguments in (["sample", "--n", "0"], ["sampel"], ["sample", "--label", "1", "--labels", "2"]):
        done = gan_client(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert_one_line(done.stderr)


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_ctrl_c_and_termination_are_one_line_and_write_nothing(service, act, tmp_path, number, code, line):
    service.script.append(act.HOLD)
    process = subprocess.Popen(
        [*COMMAND, "sample", "--url", service.url],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert service.got_request.wait(30)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code
    assert (stdout, stderr) == (b"", f"gan-client: {line}\n".encode())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stream", [1, 2])
def test_a_stream_that_is_closed_from_the_start_changes_nothing_else(service, tmp_path, stream):
    closed = f"exec {stream}>&-; exec " + " ".join(map(shlex.quote, [*COMMAND, "sample", "--url", service.url]))
    done = subprocess.run(["/bin/sh", "-c", closed], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(tmp_path.rglob("*_seed-*.png"))) == 1
    refused = closed.replace("sample", "models").replace(service.url, "nonsense")
    done = subprocess.run(["/bin/sh", "-c", refused], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")


def test_progress_only_on_a_terminal_and_only_on_stderr(service, tmp_path):
    controller, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "sample", "--json", "--url", service.url],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=60,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(terminal)
        shown = os.read(controller, 65536)
    finally:
        os.close(controller)
    assert done.returncode == 0
    assert json.loads(done.stdout)["model"] == "acgan"
    assert f"Waiting for 1 image from {service.url}".encode() in shown


@pytest.mark.parametrize("option", ["--json", "--timeout=9"])
def test_reader_that_left_is_no_traceback(service, option):
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [*COMMAND, "models", option, "--url", service.url],
            stdout=write_end,
            stderr=subprocess.PIPE,
            timeout=60,
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        )
    finally:
        os.close(write_end)
    assert done.returncode == 1
    assert done.stderr == b""


def test_models(gan_client, service):
    done = gan_client("models", "--url", service.url)
    assert done.returncode == 0
    assert re.search(r"acgan\W+dcgan\W+6 x 4 grey\W+64 normal\W+10: 0, 1, 2", done.stdout)
    record = json.loads(gan_client("models", "--json", "--url", service.url).stdout)
    assert record["models"][0]["image_size"] == [6, 4]


def test_health(gan_client, service, reply, refused_url):
    done = gan_client("health", "--url", service.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{service.url} is ready\n", "")
    service.script.extend([reply(503), reply(503)])
    done = gan_client("health", "--url", service.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr)
    done = gan_client("health", "--json", "--url", service.url)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"url": service.url, "ready": False, "status": 503}
    done = gan_client("health", "--url", refused_url)
    assert done.returncode == 1
    assert_one_line(done.stderr)


def test_help_and_version(gan_client):
    for command, words in (
        ([], "130  Ctrl-C"),
        (["sample"], "--labels LIST"),
        (["interpolate"], "--loop"),
        (["dataset"], "--shard-size"),
        (["models"], "--json"),
        (["show"], "[MODEL]"),
        (["health"], "ready"),
    ):
        done = gan_client(*command, "--help")
        assert done.returncode == 0
        assert words in done.stdout
        assert "gan-client" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80
    assert gan_client("--version").stdout == f"gan-client {gan_client_package.__version__}\n"
    assert gan_client_package.__version__ == version("ganworks")
    assert gan_client().returncode == 0


def test_url_and_key_may_stand_before_the_command(service, refused_url, capsys):
    service.api_key = "s3cret"
    assert program.run(["--url", service.url, "--api-key", "s3cret", "models", "--json"]) == 0
    assert program.run(["--url", refused_url, "models", "--url", service.url, "--api-key", "s3cret", "--json"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert [info["name"] for info in json.loads(first)["models"]] == ["acgan"]


def test_import_is_light():
    heavy = ["torch", "bentoml", "onnx", "onnxruntime", "scipy"]
    script = (
        "import sys, gan_client, gan_client.program, gan_client.transport\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[]\n")
    entry = (
        "import sys, gan_client.cli\n"
        "print([name for name in ('httpx', 'pydantic', 'typer', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", entry], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[]\n")  # until then Ctrl-C is a traceback
    slow = (
        "import sys, gan_client.program\n"
        "code = gan_client.program.run(['sample', '--help'])\n"
        "print(code, [name for name in ('httpx', 'numpy', 'PIL', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", slow], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0 []"
