# SPDX-License-Identifier: Apache-2.0
"""Whole files: good ones, and any damage done to them."""

from __future__ import annotations

import contextlib
import shutil
import struct
import tracemalloc
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.elf.source import ElfError, Source
from collector.unwind import frames
from collector.unwind.rows import END, UNSUPPORTED, Cfa, Rule, Saved
from collector.unwind.table import unwind_table
from tests.collector.unwind.cfi_maker import (
    BASE,
    CODE,
    FRAME_AT,
    PUSH_RBP,
    cie,
    debug_frame,
    eh_frame,
    elf,
    loaded,
    record,
    section,
    simple,
)

ENTRY = Rule(Cfa.STACK, 8)
PUSHED = Rule(Cfa.STACK, 16, Saved.AT, -16)
FRAMED = Rule(Cfa.FRAME, 16, Saved.AT, -16)
FUNCTIONS = ((CODE + 0x40, 0x20, PUSH_RBP), (CODE, 0x3B, b"\x41\x0e\x10"))


def table(data):
    return unwind_table(Source.of_bytes(data))


def rows(data):
    return [(row.address - CODE, row.rule) for row in table(data)]


EXPECTED = [
    (0, ENTRY), (1, Rule(Cfa.STACK, 16)),
    (0x40, ENTRY), (0x41, PUSHED), (0x44, FRAMED), (0x60, END),
]  # fmt: skip


def test_rows_of_a_file_are_sorted_and_padding_has_none():
    assert rows(simple(FUNCTIONS)) == EXPECTED


def test_a_file_without_section_headers_is_found_by_its_unwind_header():
    at = FRAME_AT + 0x800
    frames = eh_frame(FUNCTIONS, FRAME_AT) + bytes(4)
    hint = b"\x01\x1b\x03\x3b" + struct.pack("<i", FRAME_AT - at - 4)
    data = bytearray(elf(headers=[(0x6474E550, 4, at, 8)]))
    data[FRAME_AT - BASE : FRAME_AT - BASE + len(frames)] = frames
    data[at - BASE : at - BASE + 8] = hint
    assert rows(bytes(data)) == EXPECTED
    data[at - BASE + 1] = 0x03
    with pytest.raises(ElfError):
        table(bytes(data))


def test_debug_frame_is_read_where_there_is_no_eh_frame():
    debug = section(b".debug_frame", debug_frame(FUNCTIONS))
    assert rows(elf([debug])) == EXPECTED
    one = eh_frame(FUNCTIONS[:1], FRAME_AT)
    assert len(table(elf([loaded(b".eh_frame", one, FRAME_AT), debug]))) == 4
    assert rows(elf([loaded(b".eh_frame", bytes(4), FRAME_AT), debug])) == EXPECTED


def packed(data, size=None, kind=1):
    return struct.pack("<IIQQ", kind, 0, len(data) if size is None else size, 1) + zlib.compress(
        data
    )


def test_a_compressed_debug_frame():
    debug = debug_frame(FUNCTIONS)
    assert rows(elf([section(b".debug_frame", packed(debug), flags=0x800)])) == EXPECTED


@pytest.mark.parametrize(
    "data",
    [b"", packed(b"x" * 100, 99), packed(b"x", 2), packed(b"x", 1 << 40), packed(b"x", kind=2),
     packed(b"x" * 100)[:30], struct.pack("<IIQQ", 1, 0, 4, 1) + b"junk"],
)  # fmt: skip
def test_sec_a_compressed_section_that_is_none(data):
    with pytest.raises(ElfError):
        table(elf([section(b".debug_frame", data, flags=0x800)]))


def test_sec_04_a_compressed_section_grows_no_further_than_it_says():
    bomb = packed(bytes(1 << 26), 1 << 10)
    tracemalloc.start()
    try:
        with pytest.raises(ElfError):
            table(elf([section(b".debug_frame", bomb, flags=0x800)]))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_functions_outside_the_code_have_no_rows():
    assert rows(simple((*FUNCTIONS, (0x10, 0x20, b"")))) == EXPECTED


def test_refused_functions_are_counted():
    frames = eh_frame(FUNCTIONS, FRAME_AT) + record(4, bytes(12))
    found = table(elf([loaded(b".eh_frame", frames, FRAME_AT)]))
    assert (found.refused, len(found)) == (1, len(EXPECTED))


def test_a_program_that_cannot_be_read_is_unsupported_from_there():
    assert rows(simple(((CODE, 0x40, b"\x42\x3f"),))) == [
        (0, ENTRY), (2, UNSUPPORTED), (0x40, END),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "data", [b"", bytes(64), simple(machine=183), simple(kind=4), simple()[:100]]
)
def test_what_is_no_executable_of_a_known_machine_is_an_error(data):
    with pytest.raises(ElfError):
        table(data)


def test_a_file_that_says_nothing_gives_an_empty_table():
    assert len(table(elf())) == 0


def test_sec_02_a_million_functions():
    """Each is another function of one byte; equal neighbours leave hardly a row."""
    head = record(0, cie(data=b"\x03"))
    count = 1_000_000
    body = b"".join(
        struct.pack("<IIIIxxxx", 16, len(head) + 20 * n + 4, CODE + n % 0x1000, 1)
        for n in range(count)
    )
    found = table(elf([section(b".eh_frame", head + body)]))
    assert (found.refused, len(found)) == (0, 2)


@pytest.mark.parametrize("limit", ["MAX_FDES", "MAX_ROWS"])
def test_sec_02_more_functions_or_rows_than_any_file_has_are_an_error(monkeypatch, limit):
    monkeypatch.setattr(frames, limit, 3)
    many = [(CODE + 16 * n, 16, b"") for n in range(4)]
    assert len(table(simple(many[:3]))) == 2
    with pytest.raises(ElfError, match="too many functions or rows"):
        table(simple(many))


def with_program(program):
    """A file whose only function has this program."""
    head = record(0, cie(data=b"\x03"))
    body = struct.pack("<II", CODE, 0x7FFFFFFF) + b"\0" + program
    return elf([section(b".eh_frame", head + record(len(head) + 4, body))])


def test_sec_02_a_function_of_millions_of_rows_is_unsupported_from_some_row_on():
    data = with_program(b"\x41\x0e\x10\x41\x0e\x20" * (1 << 20))
    tracemalloc.start()
    try:
        found = table(data)
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()
    assert found.rule_at(CODE + (1 << 17)) == UNSUPPORTED
    assert len(found) < 1 << 17


def test_sec_02_programs_that_take_too_long_are_an_error():
    with pytest.raises(ElfError, match="too many bytes"):
        table(with_program(bytes((1 << 24) + 16)))


def test_sec_02_zero_words_without_end_are_an_error():
    with pytest.raises(ElfError, match="too many"):
        table(elf([section(b".eh_frame", bytes((1 << 23) + 4))]))


def attempt(data):
    """A table that keeps its promises, or ElfError."""
    with contextlib.suppress(ElfError):
        found = table(data)
        addresses = list(found.addresses)
        assert addresses == sorted(set(addresses))
        assert all(number < len(found.rules) for number in found.numbers)
        numbers = list(found.numbers)
        assert all(a != b for a, b in pairwise(numbers))


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_a_table_or_an_elf_error(data):
    attempt(data)
    attempt(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0\x3e\0" + data)


GOOD = simple(FUNCTIONS, entry=CODE)
MADE = [*range(200), *range(FRAME_AT - BASE, FRAME_AT - BASE + 0x80), *range(0x8000, len(GOOD))]
VALUES = st.sampled_from([0, 1, 2, 4, 7, 0x7F, 0x80, 0xFE, 0xFF]) | st.integers(0, 255)


def damaged(good, places):
    """Files with a few bytes changed at these places."""

    def change(changes):
        data = bytearray(good)
        for place, value in changes:
            data[place] = value
        return bytes(data)

    changes = st.lists(st.tuples(st.sampled_from(places), VALUES), min_size=1, max_size=12)
    return changes.map(change)


@settings(max_examples=400, deadline=None)
@given(damaged(GOOD, MADE))
def test_any_damage_gives_a_table_or_an_elf_error(data):
    attempt(data)


@settings(deadline=None)
@given(st.integers(0, len(GOOD)))
def test_any_truncation_gives_a_table_or_an_elf_error(size):
    attempt(GOOD[:size])


REAL = Path(shutil.which("true") or "/bin/true").read_bytes()


def structure(data):
    """Headers, .eh_frame and section headers, where damage does most."""
    (table_at,) = struct.unpack_from("<Q", data, 0x28)
    place = data.find(b"\x01zR\0") - 8
    return [*range(0x40 + 14 * 56), *range(place, place + 0xD00), *range(table_at, len(data))]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(damaged(REAL, structure(REAL)))
def test_any_damage_to_a_real_file_gives_a_table_or_an_elf_error(data):
    attempt(data)


def test_the_files_damaged_above_are_good_ones():
    assert len(table(GOOD)) > 2
    assert len(table(REAL)) > 100
