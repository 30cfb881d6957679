"""The way to the service: deadlines, connections that break, settings and proxies that lead nowhere."""

import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gan_client import GanClient, errors


@pytest.mark.parametrize(("status", "code"), [(404, "not_found"), (405, "method_not_allowed")])
def test_url_of_the_page_in_the_browser_is_told_to_be_one_path_too_long(service, status, code):
    refused = service.error(status, code, "/ui/generate can't be called with POST")
    service.script.append(refused)
    with GanClient(f"{service.url}/ui/") as client:
        with pytest.raises(errors.StatusError, match=rf"given as {service.url}/ui, leave its path /ui out \["):
            client.generate()
        service.script.append(service.error(404, "unknown_model", "there is no 'x'"))
        with pytest.raises(errors.NotFoundError) as caught:
            client.models.get("x")
    assert "path" not in str(caught.value)
    service.script.append(refused)
    with GanClient(service.url) as client, pytest.raises(errors.StatusError) as caught:
        client.generate()
    assert "leave" not in str(caught.value)


def test_closed_client_says_so(service):
    client = GanClient(service.url)
    client.close()
    for call in (client.generate, client.health, client.models.list, client.with_raw_response.health):
        with pytest.raises(errors.ClientClosedError, match="the client is closed: make a new one"):
            call()
    with pytest.raises(errors.ClientClosedError):
        next(client.stream(3))
    assert issubclass(errors.ClientClosedError, RuntimeError)
    assert service.received == []


def test_client_that_is_closed_during_a_call_says_so(service, act):
    service.script.append(act.HOLD)
    client = GanClient(service.url, timeout=3, max_retries=0)

    def close() -> None:
        while not service.received:
            time.sleep(0.01)
        client.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(errors.ClientClosedError):
        client.generate()
    closing.join()


def test_retry_after_beyond_the_deadline_is_not_waited_for(client, service):
    service.script.append(service.busy(429, "3600"))
    with pytest.raises(errors.QueueFullError) as caught:
        client.generate()
    assert caught.value.retry_after == 3600
    assert len(service.received) == 1


@pytest.mark.parametrize("act_name", ["HOLD", "TRICKLE"])
def test_deadline_covers_the_whole_answer(service, act, act_name):
    service.script.append(act[act_name])
    started = time.monotonic()
    with (
        GanClient(service.url, timeout=0.3) as client,
        pytest.raises(errors.DeadlineExceededError, match=r"within 0\.3 s") as caught,
    ):
        client.generate()
    assert 0.3 <= time.monotonic() - started < 5
    assert isinstance(caught.value, TimeoutError)
    assert len(service.received) == 1


def test_time_until_the_headers_is_not_given_once_more_to_the_body(service, act):
    service.script.append(act.LATE)
    started = time.monotonic()
    with GanClient(service.url, timeout=2) as client, pytest.raises(errors.DeadlineExceededError):
        client.generate()
    assert 2 <= time.monotonic() - started < 3.5, "once more would be 3.6 s"


def test_time_until_a_connection_is_free_is_not_given_once_more_to_the_answer(service, act, monkeypatch):
    monkeypatch.setattr("gan_client.transport.MAX_CONNECTIONS", 1)
    service.script.extend([act.HOLD, act.HOLD])
    with GanClient(service.url, timeout=2, max_retries=0) as client:

        def ask() -> None:
            with pytest.raises(errors.DeadlineExceededError):
                client.with_options(timeout=1.4).generate()

        first = threading.Thread(target=ask, daemon=True)
        first.start()
        service.got_request.wait(5)
        started = time.monotonic()
        with pytest.raises(errors.DeadlineExceededError):
            client.generate()
        assert 2 <= time.monotonic() - started < 3.3, "once more would be 3.4 s"
        first.join(5)
    assert len(service.received) == 2


def test_deadline_is_one_for_all_tries(service, act):
    service.script.extend([service.busy(503), act.HOLD])
    started = time.monotonic()
    with (
        GanClient(service.url, timeout=0.3, max_retries=5) as client,
        pytest.raises(errors.DeadlineExceededError),
    ):
        client.generate()
    assert time.monotonic() - started < 5
    assert len(service.received) == 2


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: the port refuses connections and stays ours
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with (
            GanClient(url, max_retries=0) as client,
            pytest.raises(
                errors.ConnectionFailedError, match=rf"{url}.*`bentoml serve gan_serving\.service:GanService`"
            ) as caught,
        ):
            client.generate()
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.parametrize("act_name", ["DROP", "CUT", "NOT_HTTP"])
def test_connection_that_breaks(service, act, act_name):
    service.script.append(act[act_name])
    with (
        GanClient(service.url, max_retries=0) as client,
        pytest.raises(errors.ConnectionFailedError, match=rf"connection to {service.url} broke"),
    ):
        client.generate()


def test_url_and_key_from_the_environment(service, monkeypatch):
    service.api_key = "s3cret"
    with GanClient(service.url + "/") as client, pytest.raises(errors.UnauthorizedError, match="GAN_API_KEY"):
        client.generate()
    monkeypatch.setenv("GAN_URL", service.url)
    monkeypatch.setenv("GAN_API_KEY", "s3cret\n")
    with GanClient() as client:
        assert len(client.generate()) == 1
    with GanClient(api_key="other") as client, pytest.raises(errors.UnauthorizedError):
        client.generate()
    assert [sent.headers.get("Authorization") for sent in service.received] == [
        None,
        "Bearer s3cret",
        "Bearer other",
    ]


def test_path_of_the_url_is_kept(service):
    with GanClient(f"{service.url}/behind/a/proxy/", max_retries=0) as client:
        assert client.base_url == f"{service.url}/behind/a/proxy"
        client.generate()
    assert service.received[0].path == "/behind/a/proxy/generate"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_url": "localhost:3000"}, r"url is 'localhost:3000': it must be http://"),
        ({"base_url": "ftp://host"}, r"url is 'ftp://host'"),
        ({"base_url": "http://"}, r"url is 'http://'"),
        ({"base_url": "http://host:99999"}, r"url is"),
        ({"base_url": "http://a..b:1"}, r"url is 'http://a\.\.b:1'"),
        ({"base_url": f"http://{'a' * 64}.org"}, r"url is 'http://aaa"),
        ({"base_url": "http://ho st"}, r"url is"),
        ({"base_url": "http://xn--$.org"}, r"can't talk HTTP to http://xn--\$\.org \(Invalid A-label\)"),
        ({"base_url": "http://user:pa55@host"}, r"the url of host has more"),
        ({"base_url": "http://user:pa55/word@host"}, r"url is 'http://…@host'"),
        ({"base_url": "http://user:pa55@host:99999"}, r"url is 'http://…@host:99999'"),
        ({"base_url": "http://host/?a=b"}, r"the url of host has more"),
        ({"api_key": "two words"}, r"the API key"),
        ({"api_key": ""}, r"the API key"),
        ({"headers": {"X-Gateway": "two words\r\nHost: x"}}, r"headers has 'X-Gateway'"),
        ({"headers": {"X-Gateway": " two words"}}, r"headers has 'X-Gateway'.* without spaces at its ends"),
        ({"headers": {"X-Gateway": "two words "}}, r"headers has 'X-Gateway'.* without spaces at its ends"),
        ({"headers": {"X Gateway": "a"}}, r"headers has 'X Gateway'"),
        ({"headers": {"content-length": "5"}}, r"headers has 'content-length': .* sends its own"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, r"headers has 'Transfer-Encoding': .* sends its own"),
        ({"headers": [("X-Gateway", "a")]}, r"headers are not a mapping"),
        ({"timeout": 0}, r"timeout is 0"),
        ({"timeout": float("inf")}, r"timeout is inf"),
        ({"max_retries": -1}, r"max_retries is -1"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(errors.InvalidArgumentError, match=message) as caught:
        GanClient(**arguments)
    assert "pa55" not in str(caught.value)
    assert "two words" not in str(caught.value)


def test_a_handshake_that_fails_is_no_service_that_is_down(service):
    url = service.url.replace("http:", "https:")
    with (
        GanClient(url, timeout=30) as client,
        pytest.raises(errors.InvalidArgumentError, match=r"no secure connection .* SSL_CERT_FILE .* begins with http:"),
    ):
        client.generate()  # not tried again: it would take 30 s


def test_wrong_proxy_in_the_environment_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "gopher://proxy:70")
    with pytest.raises(errors.InvalidArgumentError, match="proxy"):
        GanClient("http://localhost:3000")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_does_not_answer_is_named(service, refused_url, monkeypatch, variable):
    where = refused_url.removeprefix("http://")
    monkeypatch.setenv(variable, f"http://me:pa55@{where}")
    with (
        GanClient(service.url, max_retries=0) as client,
        pytest.raises(
            errors.ConnectionFailedError, match=f"through the environment's proxy {where} .*NO_PROXY"
        ) as told,
    ):
        client.health()
    assert "pa55" not in str(told.value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with GanClient(service.url) as client:
        assert client.health()
    with GanClient(refused_url, max_retries=0) as client, pytest.raises(errors.ConnectionFailedError) as told:
        client.health()
    assert "proxy" not in str(told.value)


def test_closed_client_has_released_its_connections(service):
    with GanClient(service.url) as client:
        client.generate()
    with pytest.raises(RuntimeError, match="closed"):
        client.generate()


FORKED = """
import os, sys
from gan_client import GanClient
client = GanClient(sys.argv[1])
def connection():
    return client.with_raw_response.models.list().headers["X-Connection"]
def told(child):
    read, write = os.pipe()
    if not os.fork():
        os.write(write, child().encode())
        os._exit(0)
    os.wait()
    return os.read(read, 100).decode()
print(connection(), told(connection), told(lambda: told(connection)), connection())
"""


def test_a_forked_process_asks_on_connections_of_its_own():
    """On their parent's, two processes get each other's answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args):
            """Nothing is printed."""

        def do_GET(self):
            self.send_response(200)
            self.send_header("X-Connection", str(self.client_address[1]))
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        command = [sys.executable, "-c", FORKED, f"http://127.0.0.1:{server.server_address[1]}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        server.shutdown()
        serving.join()
    first, child, grandchild, again = done.stdout.split()
    assert first == again
    assert len({first, child, grandchild}) == 3
    assert done.stderr == ""


def test_a_handshake_that_breaks_off_is_tried_again():
    hung_up = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                connection.recv(65536)
                connection.close()
                hung_up.append(True)

        serving = threading.Thread(target=hang_up, daemon=True)
        serving.start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        with GanClient(url, timeout=20, max_retries=1) as client, pytest.raises(errors.ConnectionFailedError):
            client.generate(seed=1)
        serving.join(5)
    assert len(hung_up) == 2
