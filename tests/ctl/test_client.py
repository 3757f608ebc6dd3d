# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import threading

import pytest

from collector.status.codec import MAX_BYTES, StatusError, encode
from collector.status.document import answer, report
from collector.status.server import NOT_ALLOWED
from ctl.client import NotAllowedError, NotRunningError, ask
from tests.collector.status.samples import HEALTHY


def test_the_answer_in_pieces(serve):
    data = answer(HEALTHY)

    def treat(connection):
        for at in range(0, len(data), 100):
            connection.sendall(data[at : at + 100])

    assert ask(serve(treat)) == report(HEALTHY)


def test_no_socket(tmp_path):
    with pytest.raises(NotRunningError, match="nothing listens"):
        ask(str(tmp_path / "none"))


def test_a_socket_somebody_left(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    with pytest.raises(NotRunningError):
        ask(str(tmp_path / "s"))


def test_the_agent_refuses(serve):
    with pytest.raises(NotAllowedError):
        ask(serve(lambda connection: connection.sendall(NOT_ALLOWED)))


def test_an_agent_that_does_not_answer(serve):
    asked = threading.Event()

    def treat(connection):
        asked.wait()

    path = serve(treat)
    with pytest.raises(StatusError, match="no answer within"):
        ask(path, timeout=0.05)
    asked.set()


def test_an_agent_that_never_ends(serve):
    def treat(connection):
        while True:
            connection.sendall(b" " * 4096)

    with pytest.raises(StatusError, match=f"longer than {MAX_BYTES}"):
        ask(serve(treat))


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", answer(HEALTHY)[:-20]])
def test_a_bad_answer(serve, data):
    with pytest.raises(StatusError):
        ask(serve(lambda connection: connection.sendall(data)))


def test_an_unknown_level(serve):
    data = encode(report(HEALTHY)).replace(b'"level": "ok"', b'"level": "great"')
    with pytest.raises(StatusError, match="health level"):
        ask(serve(lambda connection: connection.sendall(data)))


def test_a_path_too_long_for_a_socket():
    with pytest.raises(StatusError):
        ask("/" + "x" * 200)
