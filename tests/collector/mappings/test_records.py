# SPDX-License-Identifier: Apache-2.0
"""Invariant: any bytes give records or RecordError, and a walk without its end is an error."""

import contextlib
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.mappings import records
from collector.model import MappingFlag, ProcessId

END = struct.pack("=IIQ", 3, 16, 0)
DEVICE = 8 << 20 | 17


def mapping(start, end, path=b"/bin/x", *, tgid=7, flags=0):
    size = 96 + len(path)
    return (
        struct.pack(
            "=IIIIQQQQQQQQQII", 1, size, tgid, flags, 11, 2, start, end, 4096, 99, 5000, 0xEF53,
            77, DEVICE, 0,
        )
        + path
    )  # fmt: skip


def task(tgid=7, comm=b"x", kernel=0):
    return struct.pack("=IIIIQQQIIII16s", 2, 72, tgid, tgid, 11, 2, 5, 1, 1000, kernel, 0, comm)


@given(st.binary(max_size=4096))
def test_any_bytes(raw):
    for parse in (records.mappings, records.tasks):
        with contextlib.suppress(records.RecordError):
            parse(raw)


@given(st.data())
def test_mutations_of_a_walk(data):
    raw = bytearray(mapping(4096, 8192) + mapping(8192, 12288, b"\xff\n") + END)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = records.mappings(bytes(raw))
    except records.RecordError:
        return
    assert all(m.flags in MappingFlag(31) for ms in found.values() for m in ms)


def test_fields():
    found = records.mappings(mapping(4096, 8192, flags=1) + END)
    (only,) = found[ProcessId(7, 11, 2)]
    assert (only.start, only.end, only.offset, only.inode) == (4096, 8192, 4096, 99)
    assert only.device == os.makedev(8, 17)
    assert (only.fs_magic, only.file_size, only.file) == (0xEF53, 5000, 77)
    assert only.flags == MappingFlag.WRITABLE
    assert only.path == "/bin/x"


def test_duplicates_are_one_and_the_order_is_by_start():
    raw = mapping(8192, 12288) + mapping(4096, 8192) + mapping(8192, 12288) + END
    starts = [m.start for m in records.mappings(raw)[ProcessId(7, 11, 2)]]
    assert starts == [4096, 8192]


def test_processes_are_told_apart():
    raw = mapping(4096, 8192) + mapping(4096, 8192, tgid=8) + END
    assert {process.pid for process in records.mappings(raw)} == {7, 8}


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 60])
def test_a_walk_cut_short_is_an_error(cut):
    raw = mapping(4096, 8192) + END
    with pytest.raises(records.RecordError):
        records.mappings(raw[:-cut])


def test_tasks():
    (process,) = records.tasks(task(comm=b"a\xffb", kernel=1) + task(comm=b"a\xffb") + END)
    assert process.id == ProcessId(7, 11, 2)
    assert (process.parent_pid, process.uid, process.cgroup_id) == (1, 1000, 5)
    assert process.comm == "a\udcffb"


def test_a_record_of_the_other_iterator_is_an_error():
    with pytest.raises(records.RecordError):
        records.tasks(mapping(4096, 8192) + END)
