"""Heads of requests that a parser lets pass and HTTP does not, against a real uvicorn with the service's protocol."""

import pytest
from guarded_uvicorn import GOOD, Server, answer, error_of, read_all


@pytest.mark.parametrize(
    ("head", "wrong"),
    [
        (b"GET / HTTP/1.1\r\n", "no Host header;"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n", "2 Host headers;"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nAccept: */*\r\nHOST: y\r\n", "2 Host headers;"),
        (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n", "2 Host headers;"),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n", "no Host header;"),
        (b"GET / HTTP/1.1\r\nHost:\r\n", ""),  # of an address without a host, or in an absolute form
        (b"GET / HTTP/1.0\r\n", ""),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_request_has_one_host(server: Server, head: bytes, wrong: str, first: bool):
    with server.connect() as client:
        if not first:
            client.sendall(GOOD)
            assert answer(client)[0] == 200
        client.sendall(head + b"\r\n")
        reply = answer(client)
        assert reply[0] == (400 if wrong else 200)
        if wrong:
            error = error_of(reply).error
            assert (error.code, error.param) == ("invalid_request", "Host")
            assert wrong in error.message
            assert read_all(client) == b""
    assert server.refused == (["invalid_request"] if wrong else [])
    assert len(server.paths) == (not first) + (not wrong)
