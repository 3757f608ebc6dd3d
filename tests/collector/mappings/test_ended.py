# SPDX-License-Identifier: Apache-2.0
"""Invariant: any bytes give sorted, disjoint, non-empty ranges or EndedError."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.mappings.ended import PAGE, EndedError, Range, ended
from collector.mappings.files import Files
from collector.model import Mapping, MappingFlag, ProcessId
from libbpf import abi

KEY = struct.pack("=IIQQ", 7, 0, 11, 2)
FIELDS = abi.fields("ranges")
CHUNK, RING = abi.RANGES_PER_CHUNK, abi.RECENT_RANGES


def value(table=(), recent=(), active=0, tail=0):
    """An element, from (first page, pages, file, page of the file) of both kinds."""
    raw = bytearray(abi.size_of("ranges"))

    def put(field, at, layout, *numbers):
        struct.pack_into(layout, raw, FIELDS[field][0] + at, *numbers)

    put("active", 0, "=I", active)
    put("count", 4 * active, "=I", len(table))
    put("recent_head", 0, "=II", tail + len(recent) & 0xFFFFFFFF, tail)
    put("parent_tgid", 0, "=IQI", 3, 5, 1000)
    for n, (page, pages, file, offset) in enumerate(table):
        put("table", 8 * (active * CHUNK + n), "=Q", page << 19 | pages)
        put("files", 16 * (active * CHUNK + n), "=QII", file, offset, 0)
    for n, (page, pages, file, offset) in enumerate(recent, tail):
        put("recent", 24 * (n % RING), "=QQII", page << 19 | pages, file, offset, 0)
    return bytes(raw)


def check(found):
    ends = [one.end for one in found.ranges]
    starts = [one.start for one in found.ranges]
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


@given(st.binary(max_size=64), st.binary(max_size=8192))
def test_any_bytes(key, raw):
    with contextlib.suppress(EndedError):
        check(ended(key, raw))


@given(st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_any_bytes_of_the_right_length(seed, random):
    random.seed(seed)
    check(ended(KEY, random.randbytes(abi.size_of("ranges"))))


@pytest.mark.parametrize("cut", [1, 8, 24])
def test_another_length_is_an_error(cut):
    with pytest.raises(EndedError):
        ended(KEY, value()[:-cut])
    with pytest.raises(EndedError):
        ended(KEY[:-cut], value())


@pytest.mark.parametrize(("active", "tail"), [(0, 0), (1, 30), (1, 2**32 - 1)])
def test_fields(active, tail):
    found = ended(KEY, value([(1, 2, 77, 3)], [(9, 1, 0, 0), (20, 1, 78, 0)], active, tail))
    assert (found.id, found.parent_pid, found.uid) == (ProcessId(7, 11, 2), 3, 1000)
    assert found.cgroup_id == 5
    assert found.ranges == (
        Range(PAGE, 3 * PAGE, 3 * PAGE, 77),
        Range(9 * PAGE, 10 * PAGE, 0, 0),
        Range(20 * PAGE, 21 * PAGE, 0, 78),
    )


layout = st.tuples(st.integers(0, 60), st.integers(0, 20), st.integers(0, 9), st.integers(0, 60))


@given(st.lists(layout, max_size=CHUNK), st.lists(layout, max_size=RING), st.integers(0, 2**32 - 1))
def test_each_page_is_what_was_mapped_there_last(table, recent, tail):
    expected = {}
    for first, pages, file, offset in [*table, *recent]:
        expected |= {first + n: (file, offset + n) for n in range(pages)}
    found = ended(KEY, value(table, recent, tail=tail))
    check(found)
    assert expected == {
        page: (one.file, (one.offset - one.start) // PAGE + page)
        for one in found.ranges
        for page in range(one.start // PAGE, one.end // PAGE)
    }


def mapping(file, path="/bin/x"):
    return Mapping(PAGE, 2 * PAGE, 0, 8, 99, 0xEF53, MappingFlag(0), path, 5000, file)


def test_a_mapping_is_the_range_with_what_another_process_told_of_its_file():
    files = Files()
    assert files.learn([mapping(77), mapping(0, "")]) == [77]
    assert files.learn([mapping(77)]) == []
    gone = ended(KEY, value([(5, 2, 77, 3), (8, 1, 0, 0), (9, 1, 78, 0)]))
    (known, anonymous), unknown = files.mappings(gone)
    assert (known.start, known.end, known.offset) == (5 * PAGE, 7 * PAGE, 3 * PAGE)
    assert (known.path, known.inode, known.file_size) == ("/bin/x", 99, 5000)
    assert (anonymous.flags, anonymous.path) == (MappingFlag.ANONYMOUS, "")
    assert (unknown, files.unknown) == ([78], 1)


def test_the_file_that_was_not_used_for_longest_goes_first_and_is_counted():
    files = Files(limit=2)
    files.learn([mapping(77), mapping(78)])
    files.mappings(ended(KEY, value([(5, 2, 77, 3)])))
    files.learn([mapping(79)])
    assert (len(files), files.evicted) == (2, 1)
    _, unknown = files.mappings(ended(KEY, value([(1, 1, n, 0) for n in (77, 78, 79)])))
    assert unknown == []  # the three lie in one page: 79 alone counts
    _, unknown = files.mappings(ended(KEY, value([(n, 1, n, 0) for n in (77, 78, 79)])))
    assert unknown == [78]
