# SPDX-License-Identifier: Apache-2.0
"""Recorded stacks of real programs, walked by bpf/unwind.h on this machine."""

from __future__ import annotations

import json
import random
import struct
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stacks.recording import DIRECTORY, FILLER, dumps, load_all, loads
from tests.stacks.walker import End, Fault

RECORDINGS = load_all()
NAMES = sorted(RECORDINGS)
MAX_FRAMES = 127
PAGE_SIZE = 4096
MOST_BYTES = 65536

PLACES = {
    "extension module": "_decimal",
    "C library": "libc.so.6",
    "dynamic linker": "ld-linux",
    "vDSO": "[vdso]",
    "libjvm": "libjvm.so",
    "cc1": "cc1",
    "postgres": "postgres",
    "node": "node",
    "redis": "redis-check-rdb",
    "nginx": "nginx",
    "xz": "liblzma",
    "git": "git",
    "perl": "perl",
    "Go": "go-mix",
    "Rust": "rust-mix",
}


@cache
def case_of(name):
    return RECORDINGS[name].case()


def places(name, walked):
    return [RECORDINGS[name].place(address) for address in walked.frames]


def golden(name):
    return [frame.place for frame in RECORDINGS[name].golden]


@pytest.mark.parametrize("name", NAMES)
def test_the_frames_are_those_that_libdw_found(walker, name):
    walked = walker.walk(case_of(name))
    if RECORDINGS[name].golden_end == "complete":
        assert places(name, walked) == golden(name)[:MAX_FRAMES]
        assert walked.end == (End.TRUNCATED if len(golden(name)) > MAX_FRAMES else End.COMPLETE)
    else:  # libdw gave up, we may know more
        assert places(name, walked)[: len(golden(name))] == golden(name)


def test_the_bottom_where_libdw_finds_none(walker):
    """A new thread, and the instruction behind the system call that made it."""
    assert RECORDINGS["new-thread"].golden_end != "complete"
    assert walker.walk(case_of("new-thread")).end == End.COMPLETE


def test_recordings_are_of_all_kinds():
    leaves = {name: RECORDINGS[name].golden[0].file for name in NAMES}
    assert len(NAMES) >= 20
    for place, file in PLACES.items():
        assert any(file in leaf for leaf in leaves.values()), place
    assert sum(RECORDINGS[name].golden_end == "complete" for name in NAMES) >= 20
    assert any(RECORDINGS[name].in_call for name in NAMES)
    assert any(len(RECORDINGS[name].memory) > 1 for name in NAMES), "a second stack"


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_small_and_tells_nothing_else(name):
    recording = RECORDINGS[name]
    text = (DIRECTORY / f"{name}.json").read_text()
    assert len(text) < MOST_BYTES
    assert dumps(loads(text)) == text
    assert not any("/" in file.name for file in recording.files)
    code = [(mapping.start, mapping.end) for mapping in recording.mappings]
    areas = [(at, at + len(data)) for at, data in recording.memory]
    for at, data in recording.memory:
        if any(low <= at < high for low, high in code):
            assert len(data) <= 16
            continue
        words = set(struct.unpack(f"<{len(data) // 8}Q", data)) - {0, FILLER}
        assert all(any(low <= word <= high for low, high in code + areas) for word in words)


@pytest.mark.parametrize("name", NAMES)
def test_memory_that_cannot_be_read(walker, name):
    """Wherever the stack is cut off, what was found before stays and the reason is told."""
    case, whole = case_of(name), walker.walk(case_of(name))
    ends = set()
    for place, (start, data) in enumerate(case.areas):
        for size in (0, *range(-start % PAGE_SIZE, len(data), PAGE_SIZE * len(case.areas))):
            areas = [*case.areas]
            areas[place] = start, data[:size]
            walked = walker.walk(replace(case, areas=areas))
            assert walked.frames == whole.frames[: len(walked.frames)]
            assert walked.end in (End.UNREADABLE, End.NO_TABLE, whole.end)
            ends.add(walked.end)
    assert ends & {End.UNREADABLE, End.NO_TABLE} or len(whole.frames) == 1


@pytest.mark.parametrize("fault", [Fault.FIRST_KEY, Fault.LAST_KEY])
@pytest.mark.parametrize("name", NAMES)
def test_a_chunk_that_changes_while_it_is_searched(walker, name, fault):
    case, whole = case_of(name), walker.walk(case_of(name))
    for at in range(1, len(whole.chunks) + 1, 1 + len(whole.chunks) // 20):
        walked = walker.walk(replace(case, fault=fault, fault_at=at))
        if whole.chunks[at - 1] not in case.chunks:
            assert walked == whole  # there was nothing to change
            continue
        assert walked.end == End.TABLE_CHANGED
        assert walked.frames == whole.frames[: len(walked.frames)]


def test_a_part_that_goes_while_its_page_is_searched(walker):
    seen = 0
    for name in NAMES:
        case, whole = case_of(name), walker.walk(case_of(name))
        for at, (_, page) in enumerate(whole.chunks, 1):
            if page & 7:
                walked = walker.walk(replace(case, fault=Fault.GONE, fault_at=at))
                assert walked.end == End.TABLE_CHANGED
                seen += 1
    assert seen


damage = st.tuples(st.integers(0, 2**32), st.integers(0, 2**32), st.integers(0, 255))


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(NAMES), bytes_=st.lists(damage, min_size=1, max_size=40))
def test_damaged_rows(walker, name, bytes_):
    """Whatever bytes stand in chunks, a walk ends with a reason and shows code addresses only."""
    case = case_of(name)
    chunks = {key: bytearray(body) for key, body in case.chunks.items()}
    for which, place, value in bytes_:
        body = chunks[sorted(chunks)[which % len(chunks)]]
        body[place % len(body)] = value
    check(walker, replace(case, chunks=chunks))


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_are_noise(walker, name):
    """As before, with so much damage that most walks go astray, and they are seen to."""
    case, source, ends = case_of(name), random.Random(name), set()
    for share in (0.01, 0.1, 1.0):
        for _ in range(8):
            chunks = {key: bytearray(body) for key, body in case.chunks.items()}
            for body in chunks.values():
                for place in source.sample(range(len(body)), int(share * len(body))):
                    body[place] = source.getrandbits(8)
            ends.add(check(walker, replace(case, chunks=chunks)).end)
    assert ends - {End.COMPLETE}


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(NAMES), words=st.lists(damage, min_size=1, max_size=40))
def test_damaged_memory(walker, name, words):
    """Whatever words stand on the stack, a walk ends and shows code addresses only."""
    case = case_of(name)
    start, data = case.areas[0]
    memory = bytearray(data)
    choices = [start, start + 8, case.ip, 0, 1, 2**63, 2**64 - 1, *(r.start for r in case.ranges)]
    for place, choice, _ in words:
        at = place % (len(memory) // 8) * 8
        memory[at : at + 8] = struct.pack("<Q", choices[choice % len(choices)])
    check(walker, replace(case, areas=[(start, bytes(memory)), *case.areas[1:]]))


def check(walker, case):
    walked = walker.walk(case)
    assert walked.end in End
    assert len(walked.frames) <= MAX_FRAMES
    for address in walked.frames:
        assert any(r.start <= address <= r.end for r in case.ranges)
    return walked


def test_every_recording_says_how_it_was_made():
    readme = (DIRECTORY / "README.md").read_text()
    for name in NAMES:
        assert f"| {name} |" in readme
        values = json.loads((DIRECTORY / f"{name}.json").read_text())
        assert values["recipe"]
        assert values["situation"]
