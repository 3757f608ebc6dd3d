# SPDX-License-Identifier: Apache-2.0
"""The real worker in its real sandbox, asked over its real socket by the real client."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from collector.elf.source import Source
from collector.symbolize.client import (
    ElfClient,
    FileRefusedError,
    WorkerDiedError,
    WorkerUnavailableError,
)
from collector.unwind.chunks import packed
from collector.worker import wire
from tests.collector.elf.elf_maker import BASE, CODE, CODE_SIZE, make, symbol
from tests.collector.worker.worker_process import NOBODY, REPOSITORY, Supervised

pytestmark = pytest.mark.root

START = BASE + CODE


@pytest.fixture
def supervised(tmp_path):
    made = Supervised(tmp_path / "elf.sock")
    yield made
    made.close()


@pytest.fixture
def client(supervised):
    made = ElfClient(supervised.path)
    yield made
    made.close()


def the_libc():
    maps = Path("/proc/self/maps").read_text().split()
    return next(word for word in maps if "/libc.so" in word or "/libc-" in word)


@contextlib.contextmanager
def opened(path, data=None):
    if data is not None:
        Path(path).write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def test_describe_and_names(supervised, client, tmp_path):
    supervised.start()
    data = make([symbol(b"main", 0, 64), symbol(b"odd\x1bname", 64, 32)])
    with opened(tmp_path / "program", data) as fd:
        description = client.describe(fd)
        assert description.build_id == "ab" * 20
        assert description.segments == ((CODE, START, CODE_SIZE),)
        assert client.names(fd, [START + 5, START + 64, START + 100]) == (
            (START, START + 64, "main"),
            (START + 64, START + 96, "odd\\x1bname"),
            (START + 96, 1 << 64, None),
        )


def test_more_addresses_than_fit_one_request(supervised, client, tmp_path):
    supervised.start()
    long_name = b'"' * 600
    with opened(tmp_path / "program", make([symbol(long_name, 0, CODE_SIZE)])) as fd:
        addresses = [START + n for n in range(wire.MAX_ADDRESSES + 7)]
        assert set(client.names(fd, addresses)) == {(START, START + CODE_SIZE, '"' * 512)}


def test_real_executables_are_read_behind_the_door(supervised, client):
    worker = supervised.start()
    for path in (the_libc(), Path(sys.executable).resolve()):
        with opened(path) as fd:
            for _, address, size in client.describe(fd).segments:
                answers = client.names(fd, list(range(address, address + size, 4096)))
                assert len([name for _, _, name in answers if name]) > 10
    assert worker.poll() is None


def test_unwind_tables_are_made_behind_the_door(supervised, client):
    worker = supervised.start()
    for path in (the_libc(), Path(sys.executable).resolve()):
        with opened(path) as fd:
            made, table = packed(Source.of_descriptor(fd)), client.unwind(fd)
            assert (table.page_shift, list(table.chunks)) == (made.page_shift, made.chunks)
            assert table.rows == made.rows > 1000
            assert client.describe(fd).segments
    assert worker.poll() is None


def test_plans_are_made_behind_the_door(supervised, client, tmp_path):
    worker = supervised.start()
    data = Path(the_libc()).read_bytes()
    with opened(the_libc()) as fd:
        code = client.describe(fd).segments[0][0]
    with opened(tmp_path / "image", data[:4096].ljust(len(data), b"\0")) as fd:
        first = client.plan(fd, code, [(0, 4096)])
        assert first[-1].size == 8  # of the header of .eh_frame
        Path(tmp_path / "image").write_bytes(data)
        second = client.plan(fd, code, [(0, 4096), *((at, size) for at, _, size in first)])
        assert [extent.size > 100_000 for extent in second] == [True]
        whole = [(0, 4096), *((at, size) for at, _, size in (*first, *second))]
        assert client.plan(fd, code, whole) == ()
        with pytest.raises(FileRefusedError):
            client.plan(fd, len(data), [])
    assert worker.poll() is None


def test_sec_02_a_table_beyond_its_own_deadline_ends_the_worker(supervised, client):
    worker = supervised.start(table="0.01")
    with opened(the_libc()) as fd, pytest.raises(WorkerDiedError):
        client.unwind(fd)
    assert worker.wait() == -signal.SIGALRM


def test_a_file_without_an_unwind_table_is_refused(supervised, client, tmp_path):
    supervised.start()
    with opened(tmp_path / "damaged", make()[:100]) as fd:
        with pytest.raises(FileRefusedError):
            client.unwind(fd)
        with pytest.raises(FileRefusedError):
            client.describe(fd)


def test_sec_01_damaged_files_do_not_end_the_worker(supervised, client, tmp_path):
    worker = supervised.start()
    good = make([symbol(b"main", 0, 64)])
    damage = random.Random(1)
    answers = {"described": 0, "refused": 0}
    for _ in range(300):
        data = bytearray(good)
        for _ in range(damage.randint(1, 8)):
            data[damage.randrange(250)] = damage.randrange(256)
        with opened(tmp_path / "damaged", bytes(data)) as fd:
            try:
                client.describe(fd)
                client.names(fd, [START])
                answers["described"] += 1
            except FileRefusedError:
                answers["refused"] += 1
    assert min(answers.values()) > 10
    assert worker.poll() is None


def test_a_file_without_symbols_answers_one_gap(supervised, client, tmp_path):
    supervised.start()
    with opened(tmp_path / "stripped", make(sections=False)) as fd:
        assert client.names(fd, [START]) == ((0, 1 << 64, None),)


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF" + bytes(100)])
def test_what_is_no_elf_file_is_refused(supervised, client, tmp_path, data):
    supervised.start()
    with opened(tmp_path / "text", data) as fd, pytest.raises(FileRefusedError):
        client.describe(fd)
    with opened(tmp_path / "program", make()) as fd:
        assert client.describe(fd).build_id == "ab" * 20


def test_sec_08_a_descriptor_of_no_regular_file_is_refused(supervised, client):
    supervised.start()
    with opened("/dev/null") as fd, pytest.raises(FileRefusedError, match="not a regular file"):
        client.describe(fd)


def test_the_worker_proves_its_sandbox(supervised, client, tmp_path):
    worker = supervised.start()
    with opened(tmp_path / "program", make()) as fd:
        client.describe(fd)
    status = Path(f"/proc/{worker.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    assert [int(fields[name], 16) for name in sets] == [0] * 5
    assert (fields["NoNewPrivs"].strip(), fields["Seccomp"].strip()) == ("1", "2")
    assert fields["Uid"].split() == [NOBODY] * 4
    assert "Max address space         1073741824" in Path(f"/proc/{worker.pid}/limits").read_text()
    # Its standard streams, the listening socket, one connection and its own statm.
    held = [str(entry.readlink()) for entry in Path(f"/proc/{worker.pid}/fd").iterdir()]
    assert not [name for name in held if "program" in name]
    assert len(held) == 6


def test_an_idle_worker_ends_and_the_client_finds_the_next(supervised, client, tmp_path):
    first = supervised.start(idle="0.05")
    with opened(tmp_path / "program", make()) as fd:
        client.describe(fd)
        assert first.wait() == 0
        supervised.start()
        assert client.describe(fd).build_id == "ab" * 20


def test_a_worker_killed_over_a_file_is_reported(supervised, client, tmp_path):
    worker = supervised.start()
    with opened(tmp_path / "program", make()) as fd:
        client.describe(fd)
        client.close()
        # The next request stands in the queue of a worker that does not run any more.
        worker.send_signal(signal.SIGSTOP)
        killer = threading.Timer(0.2, worker.kill)
        killer.start()
        supervised.listener.close()
        with pytest.raises(WorkerDiedError):
            client.describe(fd)
        killer.join()


def test_a_request_beyond_its_deadline_ends_the_worker(supervised, tmp_path):
    worker = supervised.start(request="0.1")
    with socket.socket(socket.AF_UNIX) as raw, opened(tmp_path / "program", make()) as fd:
        raw.connect(supervised.path)
        socket.send_fds(raw, [b"\0"], [fd])  # and then nothing
        assert worker.wait() == -signal.SIGALRM


@pytest.mark.parametrize(
    "message",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\x02[]",
        b"\0\0\0\x02{}",
        b"\0\0\0\x04nope",
        wire.encode({"op": "names", "addresses": [-1]}),
        wire.encode({"op": "names", "addresses": [True]}),
        wire.encode({"op": "names", "addresses": [0] * (wire.MAX_ADDRESSES + 1)}),
    ],
)
def test_sec_20_junk_closes_the_connection_and_only_that(supervised, client, tmp_path, message):
    supervised.start()
    with opened(tmp_path / "program", make()) as fd:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(supervised.path)
            socket.send_fds(raw, [message], [fd])
            assert raw.recv(1) == b""
        assert client.describe(fd).build_id == "ab" * 20


@pytest.mark.parametrize("count", [0, 2, 3])
def test_sec_20_one_descriptor_is_right_and_others_are_closed(supervised, client, tmp_path, count):
    worker = supervised.start()
    with opened(tmp_path / "program", make()) as fd:
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect(supervised.path)
                message = wire.encode({"op": "describe"})
                socket.send_fds(raw, [message], [fd] * count)
                with contextlib.suppress(ConnectionResetError):
                    assert raw.recv(1) == b""
        assert client.describe(fd).build_id == "ab" * 20
        assert len(list(Path(f"/proc/{worker.pid}/fd").iterdir())) == 6


def test_without_a_worker_the_client_gives_up_in_time(supervised, tmp_path):
    client = ElfClient(supervised.path, deadline=0.05)
    with opened(tmp_path / "program", make()) as fd, pytest.raises(WorkerUnavailableError):
        client.describe(fd)


def test_without_a_socket_nobody_is_blamed(tmp_path):
    client = ElfClient(str(tmp_path / "none"))
    with opened(tmp_path / "program", make()) as fd, pytest.raises(WorkerUnavailableError):
        client.describe(fd)


def test_a_worker_without_its_socket_says_so():
    command = (sys.executable, "-c", "from collector.worker.main import main; exit(main([]))")
    done = subprocess.run(
        command, cwd=REPOSITORY, env={}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        "elf: no socket was passed: LISTEN_PID is not this process\n",
    )
