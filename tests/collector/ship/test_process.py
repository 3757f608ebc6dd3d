# SPDX-License-Identifier: Apache-2.0
"""The shipper as a process behind its closed door: killed, stopped, left idle."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from collector.encode.writeraw import encode
from collector.model import Executable, Frame, Profile, Series
from collector.spool import cursor as cursors
from collector.spool.cursor import Cursor
from collector.spool.format import Header
from collector.spool.writer import Spool
from tests.doubles.certificates import make_certificate, needs_openssl
from tests.doubles.parca import Fault, Parca

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
NOBODY = 65534
FRAME = Frame(Executable("/bin/x", "ab"), 0x10, "f")


@pytest.fixture
def home():
    """A directory that nobody can reach, unlike tmp_path, which is root's alone."""
    path = Path(tempfile.mkdtemp(prefix="parca-agent-test-"))
    path.chmod(0o755)
    for name in ("spool", "state"):
        (path / name).mkdir()
    os.chown(path / "state", NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


def fill(home, count, first=1):
    """Adds windows; returns the digests of their payloads in order."""
    spool = Spool(home / "spool", max_bytes=1 << 30, max_age_seconds=1e9, min_free_bytes=0)
    payloads = []
    for number in range(first, first + count):
        series = (Series((("comm", "x"),), (((FRAME,), number),)),)
        payloads.append(encode(Profile(number, 10**10, 10**7, series)))
        name = spool.write(Header(1, number, number, 1, number), payloads[-1])
        (home / "spool" / name).chmod(0o644)
    spool.close()
    return [hashlib.sha256(payload).hexdigest() for payload in payloads]


@contextmanager
def shipper(home, destinations):
    config = {
        "destinations": destinations,
        "spool_dir": str(home / "spool"),
        "state_dir": str(home / "state"),
    }
    (home / "ship.yaml").write_text(yaml.safe_dump(config))
    arguments = [sys.executable, HERE / "unprivileged.py", HERE.parents[2]]
    options = ["--poll-seconds", "0.05", "--retry-base-seconds", "0.1"]
    process = subprocess.Popen(
        [*arguments, "--config", home / "ship.yaml", *options], stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


def to(parca):
    return [{"name": "parca", "address": parca.address, "insecure": True}]


def wait_until(condition, process):
    for _ in range(3000):
        if condition():
            return
        assert process.poll() is None, process.stderr.read()
        threading.Event().wait(0.01)
    raise AssertionError("waited for 30 s in vain")


def status_of(process):
    return Path(f"/proc/{process.pid}/status").read_text()


def wait_for_requests(parca, count, process):
    wait_until(lambda: len(parca.requests) >= count, process)


def acknowledged(home):
    """Windows settled, or -1 before there is a cursor."""
    found = cursors.read_all(home / "state").cursors
    return found[0].windows if found else -1


def test_kill_9_repeats_at_most_the_request_in_flight(home):
    digests = fill(home, 120)
    kills = 12
    with Parca() as parca:
        # Answers that come late make "stored, but not yet acknowledged" a likely moment.
        parca.faults.extend(Fault(delay=random.choice((0, 0, 0.01, 0.05))) for _ in range(400))
        for _ in range(kills):
            before = len(parca.requests)
            with shipper(home, to(parca)) as process:
                wait_for_requests(parca, before + random.randrange(1, 8), process)
                threading.Event().wait(random.uniform(0, 0.03))
                process.send_signal(signal.SIGKILL)
                process.wait()
        with shipper(home, to(parca)) as process:
            wait_until(lambda: len(set(parca.accepted())) == len(digests), process)
            wait_until(lambda: acknowledged(home) >= 120 - kills, process)
        arrived = parca.accepted()
    first_seen = list(dict.fromkeys(arrived))
    assert first_seen == digests, "each window arrives, in order"
    repeats = {digest: count - 1 for digest, count in Counter(arrived).items() if count > 1}
    assert sum(repeats.values()) <= kills, "one request at most for each kill"
    settled = 0
    for digest in arrived:
        position = digests.index(digest)
        assert position >= settled - 1, "only the last request may come again"
        settled = max(settled, position + 1)


def test_it_runs_without_a_privilege_and_stops_when_told(home):
    digests = fill(home, 3)
    with Parca() as parca, shipper(home, to(parca)) as process:
        wait_until(lambda: acknowledged(home) == 3, process)
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            status = dict(
                line.split(":\t", 1) for line in (task / "status").read_text().splitlines()
            )
            assert {status[name] for name in status if name.startswith("Cap")} == {"0" * 16}
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
            assert status["Uid"].split() == [str(NOBODY)] * 4
        process.terminate()
        assert process.wait(30) == 0
        assert parca.accepted() == digests


def test_sigterm_lets_no_slow_request_hold_it_up(home):
    fill(home, 1)
    with Parca() as parca, shipper(home, to(parca)) as process:
        parca.faults.append(Fault(delay=60.0))
        wait_for_requests(parca, 1, process)
        process.terminate()
        assert process.wait(30) == 0


def test_without_a_destination_it_waits_small_and_retires_cursors(home):
    old = Cursor("parca", acknowledged="")
    (home / "state" / "parca.json").write_bytes(cursors.pack(old))
    (home / "state" / "parca.json").chmod(0o644)
    with shipper(home, []) as process:
        wait_until(lambda: not cursors.read_all(home / "state").cursors[0].active, process)
        wait_until(lambda: "Seccomp:\t2" in status_of(process), process)
        process.terminate()
        assert process.wait(30) == 0


def test_two_destinations_do_not_wait_for_one_another(home):
    digests = fill(home, 5)
    with Parca() as up, Parca() as down:
        gone = down.address
    with Parca() as up:
        both = [*to(up), {"name": "down", "address": gone, "insecure": True}]
        with shipper(home, both) as process:
            wait_until(lambda: len(up.accepted()) == 5, process)
            wait_until(lambda: len(cursors.read_all(home / "state").cursors) == 2, process)
            assert process.poll() is None
        assert up.accepted() == digests


@needs_openssl
def test_tls_and_a_token_that_is_replaced_work_behind_the_door(home):
    digests = fill(home, 2)
    secrets = home / "secrets"
    secrets.mkdir()
    key, certificate = make_certificate(secrets, "server")
    (secrets / "token").write_text("old")
    destination = {
        "name": "parca",
        "ca_file": str(certificate),
        "bearer_token_file": str(secrets / "token"),
    }
    tls = key.read_bytes(), certificate.read_bytes()
    with Parca(token="new", tls=tls) as parca:
        with shipper(home, [{**destination, "address": parca.address}]) as process:
            wait_for_requests(parca, 1, process)
            (secrets / "next").write_text("new")
            (secrets / "next").rename(secrets / "token")
            wait_until(lambda: acknowledged(home) == 2, process)
        assert parca.accepted() == digests


@pytest.mark.parametrize(
    ("break_it", "status", "says"),
    [
        (lambda home: (home / "spool").rmdir(), 1, "spool: No such file"),
        (lambda home: (home / "state" / "parca.json").write_bytes(b"{"), 1, "not JSON"),
    ],
)
def test_what_it_cannot_work_with_ends_it_with_a_sentence(home, break_it, status, says):
    break_it(home)
    destinations = [{"name": "parca", "address": "localhost:1", "insecure": True}]
    with shipper(home, destinations) as process:
        _, error = process.communicate(timeout=30)
        assert process.returncode == status
        assert says in error
        assert len(error.splitlines()) == 1
