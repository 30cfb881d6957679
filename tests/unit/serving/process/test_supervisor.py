"""What circus, BentoML's process manager, says where it can't listen."""

import socket

import pytest
from circus.sockets import CircusSocket

from gan_serving.process.supervisor import tell_taken_port


@pytest.fixture(autouse=True)
def _told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bind", "listen"):
        monkeypatch.setattr(CircusSocket, name, getattr(CircusSocket, name))
    tell_taken_port()


@pytest.mark.parametrize("listens_first", [True, False])
def test_a_port_that_another_service_took_meanwhile_is_one_line(
    listens_first: bool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        late = CircusSocket("api", "127.0.0.1", port)
        if listens_first:
            other.listen()
        else:
            late.listen = lambda backlog: (other.listen(), CircusSocket.listen(late, backlog))  # both are bound
        with late, pytest.raises(SystemExit) as ended:
            late.bind_and_listen()
    assert ended.value.code == 1
    assert caplog.text == ""
    assert capfd.readouterr().err == (
        f"bentoml serve: can't listen on 127.0.0.1:{port}: Address already in use; choose another port with "
        "bentoml serve --port\n"
    )
