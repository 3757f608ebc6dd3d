# SPDX-License-Identifier: Apache-2.0
"""The loop of one destination, over a real socket to a server that judges like Parca."""

import hashlib
import os
import threading
from contextlib import contextmanager

import grpc
import pytest

from collector.config import Destination
from collector.encode.writeraw import encode
from collector.model import Executable, Frame, Profile, Series
from collector.ship.backoff import Backoff
from collector.ship.sender import Sender
from collector.ship.transport import Transport
from collector.spool import cursor as cursors
from collector.spool import files
from collector.spool.errors import SpoolError
from collector.spool.format import Header, name_of
from collector.spool.reader import SpoolReader
from collector.spool.writer import Spool
from tests.doubles.certificates import make_certificate, needs_openssl
from tests.doubles.parca import Fault, Parca

FRAME = Frame(Executable("/bin/x", "ab"), 0x10, "f")


def window(number, comm="x"):
    series = (Series((("comm", comm), ("node", "n1")), (((FRAME,), number),)),)
    return encode(Profile(10**18 + number, 10**10, 10**7, series))


class Setup:
    def __init__(self, path):
        self.path = path
        for name in ("spool", "state"):
            (path / name).mkdir()
        self.spool = Spool(path / "spool", max_bytes=1 << 30, max_age_seconds=1e9, min_free_bytes=0)
        self.state = files.open_directory(path / "state")
        self.sent = []

    def put(self, *numbers):
        """Adds windows; returns their names."""
        return [self.put_bytes(window(number)) for number in numbers]

    def put_bytes(self, payload):
        self.sent.append(hashlib.sha256(payload).hexdigest())
        return self.spool.write(Header(1, 1, 1, 1, 1), payload)

    @contextmanager
    def sender(self, writer, seconds=0.01):
        stop = threading.Event()
        sender = Sender(
            "parca",
            writer=writer,
            spool=SpoolReader(self.path / "spool"),
            state_directory=self.state,
            stop=stop,
            backoff=Backoff(base=seconds, cap=4 * seconds, least=seconds / 10),
            poll_seconds=0.01,
        )
        thread = threading.Thread(target=sender.run)
        thread.start()
        try:
            yield sender
        finally:
            stop.set()
            thread.join()

    def cursor(self):
        return cursors.load(self.state, "parca")

    def wait_settled(self, name):
        for _ in range(3000):
            if self.cursor().acknowledged == name:
                return self.cursor()
            threading.Event().wait(0.01)
        raise AssertionError(f"{name} was not settled: {self.cursor()}")


@pytest.fixture
def setup(tmp_path):
    return Setup(tmp_path)


def transport(parca, timeout=10.0, **more):
    destination = Destination("parca", parca.address, **{"insecure": True, **more})
    return Transport(destination, timeout)


def test_windows_arrive_once_in_order_and_the_cursor_follows(setup):
    names = setup.put(1, 2, 3)
    with Parca() as parca, setup.sender(transport(parca)):
        setup.wait_settled(names[-1])
        names += setup.put(4)
        cursor = setup.wait_settled(names[-1])
        assert parca.accepted() == setup.sent
        assert parca.sum_by("comm") == {"x": 10}
        assert parca.types() == {"parca_agent:samples:count:cpu:nanoseconds:delta"}
        assert parca.stacks(node="n1") == {("f",): 10}
    assert (cursor.windows, cursor.attempts, cursor.parked) == (4, 0, 0)
    assert cursor.bytes == sum(len(window(number)) for number in (1, 2, 3, 4))
    assert cursor.acknowledged_time_ns > 0
    assert cursor.last_error == ""


def test_a_restart_goes_on_after_the_cursor(setup):
    with Parca() as parca:
        names = setup.put(1, 2)
        with setup.sender(transport(parca)):
            setup.wait_settled(names[-1])
        names = setup.put(3)
        with setup.sender(transport(parca)):
            setup.wait_settled(names[-1])
        assert parca.accepted() == setup.sent


def test_an_outage_delays_and_loses_nothing(setup):
    names = setup.put(1, 2, 3)
    unavailable = Fault(grpc.StatusCode.UNAVAILABLE, details="down\x1b[2J")
    with Parca() as parca:
        parca.faults.extend([unavailable] * 4)
        with setup.sender(transport(parca)):
            cursor = setup.wait_settled(names[-1])
        assert parca.accepted() == setup.sent
        assert len(parca.requests) == 7
    assert cursor.attempts == 4
    assert cursor.last_error == "UNAVAILABLE: down?[2J"


def test_a_server_that_hangs_up_is_found_again(setup):
    names = setup.put(1, 2)
    with Parca() as parca:
        parca.faults.append(Fault(grpc.StatusCode.UNAVAILABLE, hang_up=True))
        with setup.sender(transport(parca)):
            setup.wait_settled(names[-1])
        assert parca.accepted() == setup.sent


def test_a_slow_server_meets_the_deadline(setup):
    (name,) = setup.put(1)
    with Parca() as parca:
        parca.faults.append(Fault(grpc.StatusCode.UNAVAILABLE, delay=60.0))
        with setup.sender(transport(parca, timeout=0.3)):
            cursor = setup.wait_settled(name)
        assert parca.accepted() == setup.sent
    assert cursor.last_error.startswith("DEADLINE_EXCEEDED")


def test_a_refused_window_is_parked_and_blocks_nothing(setup):
    parked = setup.put_bytes(b"\xff not a request")
    (name,) = setup.put(2)
    with Parca() as parca, setup.sender(transport(parca)):
        cursor = setup.wait_settled(name)
        assert parca.accepted() == setup.sent[1:]
        assert len(parca.requests) == 2
    assert (cursor.parked, cursor.parked_names, cursor.windows) == (1, (parked,), 1)
    assert cursor.last_error.startswith("INVALID_ARGUMENT")


def test_a_window_that_breaks_the_server_is_parked_after_a_few_tries(setup):
    names = setup.put(1, 2)
    with Parca() as parca:
        parca.faults.extend([Fault(grpc.StatusCode.UNKNOWN)] * 5)
        with setup.sender(transport(parca)):
            cursor = setup.wait_settled(names[-1])
        assert parca.accepted() == setup.sent[1:]
    assert (cursor.attempts, cursor.parked_names) == (4, (names[0],))


def test_corrupt_and_vanished_windows_are_skipped_and_counted(setup, tmp_path):
    # Numbers that do not begin at 1 make the sender list, and so know of all three.
    (tmp_path / "spool" / setup.put(0)[0]).unlink()
    names = setup.put(1, 2, 3)
    path = tmp_path / "spool" / names[0]
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "spool" / name_of(int(names[2][:20]) + 1)).symlink_to("anything")

    class Remover(Transport):
        """Deletes the third window while the second is under way, as eviction may."""

        def write_raw(self, request):
            (tmp_path / "spool" / names[2]).unlink()
            return super().write_raw(request)

    with Parca() as parca:
        destination = Destination("parca", parca.address, insecure=True)
        with setup.sender(Remover(destination, 10.0)):
            cursor = setup.wait_settled(name_of(int(names[2][:20]) + 1))
        assert parca.accepted() == setup.sent[2:3]
    assert (cursor.corrupt, cursor.vanished, cursor.windows) == (2, 1, 1)


def test_a_token_is_sent_and_read_again_when_it_changes(setup, tmp_path):
    (tmp_path / "token").write_text("old\n")
    (name,) = setup.put(1)
    with Parca(token="new") as parca:
        with setup.sender(transport(parca, bearer_token_file=str(tmp_path / "token"))):
            assert parca.wait_for(requests=1)
            (tmp_path / "token").unlink()
            (tmp_path / "token").write_text("new\n")
            cursor = setup.wait_settled(name)
        assert parca.requests[0].authorization == "Bearer old"
        assert parca.requests[-1].authorization == "Bearer new"
        assert parca.accepted() == setup.sent
    assert "old" not in (tmp_path / "state" / "parca.json").read_text()
    assert cursor.attempts >= 1


@needs_openssl
def test_tls_trusts_the_ca_file_and_nothing_else(setup, tmp_path):
    (name,) = setup.put(1)
    key, certificate = make_certificate(tmp_path, "server")
    _, other = make_certificate(tmp_path, "other")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(other.read_bytes())
    with Parca(tls=(key.read_bytes(), certificate.read_bytes())) as parca:
        with setup.sender(transport(parca, insecure=False, ca_file=str(ca))):
            while not setup.cursor().attempts:
                threading.Event().wait(0.01)
            assert parca.requests == []
            ca.write_bytes(certificate.read_bytes())
            setup.wait_settled(name)
        assert parca.accepted() == setup.sent


def test_nothing_is_sent_while_the_cursor_cannot_be_stored(setup, monkeypatch):
    names = setup.put(1, 2)
    real, failing = cursors.store, threading.Event()

    def store(directory, cursor):
        if failing.is_set() and cursor.acknowledged == names[0]:
            raise OSError(28, "No space left on device")
        real(directory, cursor)

    monkeypatch.setattr(cursors, "store", store)
    failing.set()
    with Parca() as parca, setup.sender(transport(parca)):
        assert parca.wait_for(accepted=1)
        assert not parca.wait_for(accepted=2, seconds=0.3)
        failing.clear()
        setup.wait_settled(names[1])
        assert parca.accepted() == setup.sent


def test_a_damaged_cursor_is_an_error_and_not_a_fresh_start(setup, tmp_path):
    (tmp_path / "state" / "parca.json").write_bytes(b"{")
    with pytest.raises(SpoolError), setup.sender(None):
        pass


def test_a_double_tells_what_would_have_crashed_the_server():
    series_without_labels = bytes.fromhex("1200")
    parca = Parca()
    destination = Destination("parca", parca.address, insecure=True)
    answer = Transport(destination, 10.0).write_raw(series_without_labels)
    assert answer.code == "UNAVAILABLE"
    with pytest.raises(AssertionError, match="would have crashed"):
        parca.__exit__()


def test_unreadable_is_waited_for_and_not_skipped(setup, monkeypatch):
    (name,) = setup.put(1)
    real, calls = os.open, []

    def refuse_twice(path, *arguments, **more):
        if path == name and len(calls) < 2:
            calls.append(path)
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", refuse_twice)
    with Parca() as parca, setup.sender(transport(parca)):
        cursor = setup.wait_settled(name)
    assert (cursor.attempts, cursor.corrupt, cursor.windows) == (2, 0, 1)
