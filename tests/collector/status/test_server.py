# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import array
import contextlib
import os
import select
import socket
from pathlib import Path

import pytest

from collector.sandbox import close, privileges, roles
from collector.status import server
from collector.status.server import OVERFLOW_ID, Peer, StatusServer, allowed, credentials

GROUP = 4_242
STRANGER = 65_533


class Answers:
    def __init__(self, size=20):
        self.size, self.asked = size, 0

    def __call__(self):
        self.asked += 1
        return b"%d" % self.asked + b"." * (self.size - 2) + b"\n"


@pytest.fixture
def listening(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        (tmp_path / "s").chmod(0o666)
        Path(tmp_path).chmod(0o755)
        sock.listen(64)
        yield sock


def connect(listening):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(listening.getsockname())
    return client


def connect_as(listening, uid, groups):
    os.chdir(Path(listening.getsockname()).parent)  # a stranger may not walk down to it
    os.setgroups(groups)
    os.setgid(STRANGER)
    os.setuid(uid)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(Path(listening.getsockname()).name)
    return client


def everything(client):
    with client:
        return b"".join(iter(lambda: client.recv(65_536), b""))


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def group():
    return os.getgid()


def test_one_answer_per_connection_then_the_end(listening):
    status = StatusServer(listening, group(), Answers())
    clients = [connect(listening) for _ in range(3)]
    assert select.select([status], [], [], 0)[0]
    status.handle(0.0)
    assert {everything(client) for client in clients} == {b"1" + b"." * 18 + b"\n"}
    assert not select.select([status], [], [], 0)[0]
    assert status.counters.answered == 3


def test_nobody_waits(listening):
    status = StatusServer(listening, group(), Answers())
    status.handle(0.0)
    assert status.counters == server.ServerCounters()


def test_an_answer_is_made_again_only_when_it_is_old(listening):
    answers = Answers()
    status = StatusServer(listening, group(), answers)
    for now in (0.0, 0.24, 0.26, 0.3):
        client = connect(listening)
        status.handle(now)
        everything(client)
    assert answers.asked == 2


def test_a_storm_waits_in_the_backlog(listening):
    status = StatusServer(listening, group(), Answers())
    clients = [connect(listening) for _ in range(60)]
    for _ in range(10):
        status.handle(0.0)
    assert status.counters.answered == server.BURST
    assert not status.wants(0.0)
    assert status.wants(0.05)
    status.handle(1.0)
    assert status.counters.answered == server.BURST + server.BATCH
    status.handle(1.0)
    for client in clients:
        assert everything(client).endswith(b"\n")


def test_one_call_takes_a_bounded_number(listening):
    status = StatusServer(listening, group(), Answers())
    clients = [connect(listening) for _ in range(server.BATCH + 1)]
    status.handle(0.0)
    assert status.counters.answered == server.BATCH
    for client in clients:
        client.close()


def test_a_peer_that_has_gone_is_no_error(listening):
    status = StatusServer(listening, group(), Answers())
    connect(listening).close()
    status.handle(0.0)
    assert status.counters.cut == 1


def test_a_peer_that_does_not_read_gets_what_fits(listening):
    status = StatusServer(listening, group(), Answers(16 << 20))
    client = connect(listening)
    status.handle(0.0)
    assert status.counters.cut == 1
    assert 0 < len(everything(client)) < 16 << 20


def flood(client, rights):
    """Send until the kernel takes no more."""
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.sendmsg([b"\x00junk" * 100], rights)


def test_sec_20_junk_and_descriptors_are_never_read(listening):
    status = StatusServer(listening, group(), Answers())
    read_end, write_end = os.pipe()
    before = descriptors()
    client = connect(listening)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write_end]))]
    flood(client, rights)
    status.handle(0.0)
    assert descriptors() == before + 1
    os.close(write_end)
    assert os.read(read_end, 1) == b""  # the copies in flight died with the connection
    os.close(read_end)
    client.close()
    assert status.counters.answered == 1


def test_who_may():
    assert allowed(Peer(0, frozenset({0})), GROUP)
    assert allowed(Peer(1000, frozenset({1000, GROUP})), GROUP)
    assert allowed(Peer(OVERFLOW_ID, frozenset({OVERFLOW_ID})), GROUP)
    assert not allowed(Peer(1000, frozenset({1000})), GROUP)


def test_the_kernel_names_the_peer():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = credentials(ours)
    assert peer.uid == os.getuid()
    assert peer.groups == {os.getgid(), *os.getgroups()}


def ask_as(listening, uid, groups):
    """The answer a process with this uid and these groups gets."""
    status = StatusServer(listening, GROUP, Answers())
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            client = connect_as(listening, uid, groups)
            os.write(write_end, b"connected")
            os.write(write_end, everything(client))
        finally:
            os._exit(0)
    os.close(write_end)
    assert os.read(read_end, 9) == b"connected"
    status.handle(0.0)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer, status.counters


@pytest.mark.root
def test_a_member_is_answered(listening):
    answer, counters = ask_as(listening, STRANGER, [GROUP])
    assert answer.startswith(b"1")
    assert counters.answered == 1


@pytest.mark.root
def test_a_stranger_is_refused_behind_an_open_file_mode(listening):
    answer, counters = ask_as(listening, STRANGER, [])
    assert answer == server.NOT_ALLOWED
    assert (counters.answered, counters.refused) == (0, 1)


@pytest.mark.root
def test_the_collectors_door_leaves_what_the_socket_needs(listening):
    status = StatusServer(listening, GROUP, Answers())
    child = os.fork()
    if child == 0:
        try:
            bounding_set_away()
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            close(roles.collect("/tmp"))
            select.select([status], [], [])
            status.handle(0.0)
            os._exit(0 if status.counters.answered else 1)
        finally:
            os._exit(2)
    assert everything(connect(listening)) == b"1" + b"." * 18 + b"\n"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def bounding_set_away():
    for capability in range(64):
        privileges.libc.prctl(24, capability, 0, 0, 0)
