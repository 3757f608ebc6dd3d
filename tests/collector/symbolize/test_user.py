# SPDX-License-Identifier: Apache-2.0
"""Frames of mappings: real files, the real worker, and whatever happens to both."""

from __future__ import annotations

import ctypes
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from collector.model import Executable, Frame, Mapping, MappingFlag
from collector.symbolize import user
from collector.symbolize.candidate import open_candidate
from collector.symbolize.client import ElfClient
from collector.symbolize.user import Executables
from tests.collector.elf.elf_maker import BASE, CODE, CODE_SIZE, make, symbol
from tests.collector.worker.worker_process import Supervised

pytestmark = pytest.mark.root

START = BASE + CODE
MAPPED_AT = 0x7F0000000000
FUNCTIONS = [symbol(b"main", 0, 64), symbol(b"helper", 64, 64)]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def supervised(tmp_path):
    made = Supervised(tmp_path / "elf.sock")
    made.start()
    yield made
    made.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def executables(supervised, clock):
    client = ElfClient(supervised.path, deadline=5)
    yield Executables(client, clock=clock)
    client.close()


def mapping_of(path, /, **changes):
    opened = open_candidate(str(path))
    os.close(opened.fd)
    made = Mapping(
        start=MAPPED_AT,
        end=MAPPED_AT + CODE_SIZE,
        offset=CODE,
        device=opened.device,
        inode=opened.inode,
        fs_magic=opened.fs_magic,
        flags=MappingFlag(0),
        path=str(path),
    )
    return replace(made, **changes)


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program"
    path.write_bytes(make(FUNCTIONS))
    return path


def test_addresses_become_elf_addresses_and_functions(executables, program):
    mapping = mapping_of(program)
    pcs = [MAPPED_AT, MAPPED_AT + 70, MAPPED_AT + 200, MAPPED_AT + CODE_SIZE + 5]
    frames = executables.frames(mapping, pcs)
    this = Executable(str(program), "ab" * 20)
    assert list(frames.values()) == [
        Frame(this, START, "main"),
        Frame(this, START + 70, "helper"),
        Frame(this, START + 200, ""),
        Frame(this, 0, ""),
    ]
    assert executables.executable(mapping) == this
    assert executables.counters.accepted == 1


def test_this_process_and_its_c_library(executables):
    """qsort's address, as the dynamic linker gives it, comes back as qsort."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    address = ctypes.cast(ctypes.CDLL(None).qsort, ctypes.c_void_p).value
    for line in lines:
        start, end = (int(word, 16) for word in line[0].split("-"))
        if start <= address < end:
            offset = int(line[2], 16)
            mapping = mapping_of(line[-1], start=start, end=end, offset=offset)
    frame = executables.frames(mapping, [address + 4])[address + 4]
    assert frame.function == "qsort"
    assert len(frame.executable.build_id) in (32, 40)


def test_known_functions_need_no_worker(executables, supervised, program):
    mapping = mapping_of(program)
    executables.frames(mapping, [MAPPED_AT])
    supervised.close()
    frames = executables.frames(mapping, [MAPPED_AT + 8, MAPPED_AT + 8])
    assert frames[MAPPED_AT + 8].function == "main"


def test_frames_are_shared_among_mappings_of_a_file(executables, program):
    one, other = mapping_of(program), mapping_of(program, start=MAPPED_AT * 2)
    frame = executables.frames(one, [MAPPED_AT])[MAPPED_AT]
    assert executables.frames(other, [MAPPED_AT * 2])[MAPPED_AT * 2] is frame
    assert len(executables) == 1


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"flags": MappingFlag.VDSO | MappingFlag.ANONYMOUS, "path": ""}, "[vdso]"),
        ({"flags": MappingFlag.ANONYMOUS, "path": ""}, "[anon]"),
        ({"fs_magic": 0x6969, "path": "/net/tool"}, "[remote tool]"),
        ({"path": "/tmp/gone (deleted)"}, "[deleted gone]"),
        ({"path": "/does/not/exist"}, "[unreadable exist]"),
        ({"path": "/usr/bin/evil\n\x1b[31m"}, "[unreadable evil\\n\\x1b[31m]"),
        ({"inode": 1}, "[unreadable program]"),
        ({"device": 1}, "[unreadable program]"),
    ],
)
def test_a_mapping_without_a_file_has_a_bracketed_name(executables, program, changes, name):
    mapping = mapping_of(program, **changes)
    frames = executables.frames(mapping, [MAPPED_AT, MAPPED_AT + 1])
    assert set(frames.values()) == {Frame(Executable(name, ""), 0, "")}
    assert executables.counters.refused.total() == 1


def test_the_vdso_and_other_memory_without_a_file_are_told_apart(executables, program):
    vdso, other = MappingFlag.VDSO | MappingFlag.ANONYMOUS, MappingFlag.ANONYMOUS
    none = {"path": "", "device": 0, "inode": 0}
    for flags, name in ((vdso, "[vdso]"), (other, "[anon]"), (vdso, "[vdso]")):
        assert executables.executable(mapping_of(program, flags=flags, **none)).name == name


def test_what_is_no_elf_file_is_unreadable(executables, tmp_path):
    (tmp_path / "data").write_bytes(b"no executable at all")
    mapping = mapping_of(tmp_path / "data")
    assert executables.executable(mapping) == Executable("[unreadable data]", "")
    assert executables.counters.refused == {"not_elf": 1}


def test_a_refusal_stands_for_a_while(executables, clock, tmp_path, program):
    mapping = mapping_of(program, path=str(tmp_path / "later"))
    assert executables.executable(mapping).name == "[unreadable later]"
    program.rename(tmp_path / "later")
    assert executables.executable(mapping).name == "[unreadable later]"
    clock.now += user.RETRY_SECONDS
    assert executables.executable(mapping).build_id == "ab" * 20


def test_a_file_written_in_place_is_read_again(executables, clock, program):
    mapping = mapping_of(program)
    executables.frames(mapping, [MAPPED_AT])
    program.write_bytes(make([symbol(b"changed", 0, 64)], build_id=b"\xcd" * 20))
    clock.now += user.RECHECK_SECONDS
    frame = executables.frames(mapping, [MAPPED_AT])[MAPPED_AT]
    assert (frame.function, frame.executable.build_id) == ("changed", "cd" * 20)


def test_a_file_replaced_by_an_upgrade_keeps_what_was_learnt(executables, clock, tmp_path, program):
    mapping = mapping_of(program)
    executables.frames(mapping, [MAPPED_AT])
    (tmp_path / "new").write_bytes(make([symbol(b"upgraded", 0, 128)], build_id=b"\xcd" * 20))
    # Keeps the old inode in use, as the process that maps it does.
    with program.open("rb"):
        (tmp_path / "new").rename(program)
        clock.now += user.RECHECK_SECONDS
        for old in (mapping, replace(mapping, path=f"{program} (deleted)")):
            frames = executables.frames(old, [MAPPED_AT + 1, MAPPED_AT + 70])
            this = Executable(str(program), "ab" * 20)
            assert frames[MAPPED_AT + 1] == Frame(this, START + 1, "main")
            assert frames[MAPPED_AT + 70] == Frame(this, START + 70, "")
    new = executables.frames(mapping_of(program), [MAPPED_AT])[MAPPED_AT]
    assert (new.function, new.executable.build_id) == ("upgraded", "cd" * 20)


def test_a_file_without_symbols_is_asked_about_once(executables, supervised, program):
    program.write_bytes(make(sections=False))
    mapping = mapping_of(program)
    assert executables.frames(mapping, [MAPPED_AT])[MAPPED_AT].function == ""
    supervised.close()
    frame = executables.frames(mapping, [MAPPED_AT + 4])[MAPPED_AT + 4]
    assert frame == Frame(Executable(str(program), "ab" * 20), START + 4, "")


def test_without_a_worker_frames_come_and_the_worker_is_left_alone(clock, tmp_path, program):
    executables = Executables(ElfClient(str(tmp_path / "none")), clock=clock)
    mapping = mapping_of(program)
    for _ in range(3):
        assert executables.executable(mapping).name == "[unreadable program]"
    assert executables.counters.worker_unavailable == 1
    clock.now += user.PAUSE_SECONDS
    executables.executable(mapping)
    assert executables.counters.worker_unavailable == 2


def test_a_file_that_kills_its_worker_twice_is_not_asked_about_again(
    executables, supervised, clock, program
):
    mapping = mapping_of(program)
    executables.frames(mapping, [MAPPED_AT])
    supervised.workers[0].kill()
    supervised.workers[0].wait()
    stop = threading.Event()
    killer = threading.Thread(target=kill_connections, args=(supervised.listener, stop))
    killer.start()
    try:
        for _ in range(4):
            frames = executables.frames(mapping, [MAPPED_AT + 100])
            clock.now += user.PAUSE_SECONDS
        assert executables.counters.worker_died == 2
        this = Executable(str(program), "ab" * 20)
        assert frames[MAPPED_AT + 100] == Frame(this, START + 100, "")
    finally:
        stop.set()
        killer.join()


def kill_connections(listener, stop):
    """What a worker that crashes over every request looks like."""
    listener.settimeout(0.01)
    while not stop.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        connection.recv(1)
        connection.close()


def test_files_remembered_are_bounded(supervised, tmp_path):
    executables = Executables(ElfClient(supervised.path), limit=2)
    for number in range(4):
        path = tmp_path / f"program{number}"
        path.write_bytes(make(FUNCTIONS))
        executables.frames(mapping_of(path), [MAPPED_AT])
    assert (len(executables), executables.counters.evicted_executables) == (2, 2)


def test_symbols_remembered_are_bounded(supervised, tmp_path, monkeypatch):
    monkeypatch.setattr(user, "MAX_KNOWN", 10)
    executables = Executables(ElfClient(supervised.path))
    for number in range(4):
        path = tmp_path / f"program{number}"
        path.write_bytes(make(FUNCTIONS))
        frames = executables.frames(mapping_of(path), range(MAPPED_AT, MAPPED_AT + 5))
        assert {frame.function for frame in frames.values()} == {"main"}
        held = [len(entry.functions) for entry in executables._entries.values()]
        assert sum(held) == executables._known <= 10
    assert executables.counters.evicted_symbols == 18


def test_no_descriptor_stays_open(executables, program):
    before = len(list(Path("/proc/self/fd").iterdir()))
    mapping = mapping_of(program)
    executables.frames(mapping, [MAPPED_AT])
    executables.executable(mapping_of(program, inode=1))
    # One more: the connection to the worker.
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
