# SPDX-License-Identifier: Apache-2.0
"""Any source and any ranges give extents within the source and within bounds, or ElfError."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.elf.source import ElfError, Source
from collector.unwind.plan import MAX_BYTES, Extent, plan
from collector.unwind.table import unwind_table
from tests.collector.elf.elf_maker import make
from tests.collector.unwind.cfi_maker import simple

PYTHON = Path(sys.executable).resolve()
ROUNDS = 8
PAGE = 4096


def without_sections(data):
    """What the collector makes of the header: section headers are not mapped."""
    return data[:0x28] + bytes(8) + data[0x30:0x3C] + bytes(4) + data[0x40:]


def page_of_code(data):
    """File offset of an executable mapping: the first page of an executable segment."""
    headers = [data[at : at + 56] for at in range(64, 64 + 56 * data[0x38], 56)]
    code = next(header for header in headers if header[0] == 1 and header[4] & 1)
    return int.from_bytes(code[8:16], "little") // PAGE * PAGE


def assembled(data, mapped):
    """What is there when nothing more is wanted, and in how many rounds it came."""
    have = bytearray(len(data))
    have[:PAGE] = without_sections(data[:PAGE])
    present = [(0, min(PAGE, len(data)))]
    for count in range(ROUNDS):
        wanted = plan(Source.of_bytes(bytes(have)), mapped, present)
        if not wanted:
            return bytes(have), count
        for offset, _, size in wanted:
            have[offset : offset + size] = data[offset : offset + size]
            present.append((offset, size))
    raise AssertionError("no end")


@pytest.mark.parametrize("name", ["python", "libc"])
def test_what_is_gathered_gives_the_rows_of_the_file(name):
    maps = Path("/proc/self/maps").read_text().split()
    libc = next(word for word in maps if "/libc.so" in word or "/libc-" in word)
    data = (PYTHON if name == "python" else Path(libc)).read_bytes()
    image, rounds = assembled(data, page_of_code(data))
    found, wanted = unwind_table(Source.of_bytes(image)), unwind_table(Source.of_bytes(data))
    assert found == wanted
    assert rounds <= 3
    assert sum(map(bool, image)) < len(data) / 2


def test_distances_are_those_of_memory():
    data = PYTHON.read_bytes()
    mapped = page_of_code(data)
    near, far = (plan(Source.of_bytes(data), at, [(0, PAGE)]) for at in (mapped, mapped + 3 * PAGE))
    assert [extent.offset for extent in near] == [extent.offset for extent in far]
    assert {a.distance - b.distance for a, b in zip(near, far, strict=True)} == {3 * PAGE}


def test_a_mapping_of_no_executable_segment_is_refused():
    with pytest.raises(ElfError):
        plan(Source.of_bytes(simple()), 1 << 40, [])


RANGES = st.lists(st.tuples(*[st.integers(0, 1 << 63)] * 2), max_size=8)
CHANGES = st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), max_size=12)


@given(st.sampled_from([simple(), make()]), CHANGES, st.integers(0, 1 << 17), RANGES)
def test_sec_02_any_bytes_give_bounded_extents_or_one_error(good, changes, mapped, present):
    data = bytearray(good)
    for place, value in changes:
        data[place % len(data)] = value
    try:
        extents = plan(Source.of_bytes(bytes(data)), mapped, present)
    except ElfError:
        return
    check(extents, len(data))


@given(st.binary(max_size=300), st.integers(0, 1 << 63))
def test_sec_02_no_elf_at_all(data, mapped):
    for text in (data, b"\x7fELF\x02\x01" + data):
        with pytest.raises(ElfError):
            plan(Source.of_bytes(text), mapped, [])


def check(extents, size):
    assert len(extents) <= 16
    assert all(type(extent) is Extent for extent in extents)
    assert all(one.offset >= 0 and 0 < one.size <= size - one.offset for one in extents)
    assert all(abs(one.distance) < 1 << 64 for one in extents)
    assert sum(extent.size for extent in extents) <= MAX_BYTES
