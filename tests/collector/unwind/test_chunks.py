# SPDX-License-Identifier: Apache-2.0
"""Chunks: whatever the table, a lookup in the bytes gives what the table says."""

from __future__ import annotations

import random
import sys
import tracemalloc
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.elf.source import Source
from collector.unwind import chunks as module
from collector.unwind.chunks import chunks, packed
from collector.unwind.image import read_image
from collector.unwind.rows import BOTTOM, END, UNSUPPORTED, Cfa, Rule, Saved, Table
from collector.unwind.table import unwind_table
from libbpf import abi
from tests.collector.unwind.cfi_maker import BASE, CODE, PUSH_RBP, simple
from tests.collector.unwind.packed_reader import Reader
from tests.collector.unwind.test_oracle import the_libc

FRAME = Rule(Cfa.FRAME, 16, Saved.AT, -16)
RULES = (
    END, BOTTOM, UNSUPPORTED, FRAME,
    *(Rule(Cfa.STACK, 8 * n, Saved.AT, -8 * n) for n in range(700)),
    Rule(Cfa.STACK, 8, Saved.AT, -40_000),  # its frame offset has more than 16 bits
)  # fmt: skip
PACKED = {RULES[-1]: UNSUPPORTED}
"""What differs in chunks."""


def table_of(rows):
    rows = dict(rows)
    ordered = sorted(rows)
    return Table(array("Q", ordered), array("H", [rows[at] for at in ordered]), RULES, 7)


def same(table, segments, made, *, offsets=()):
    """The table and the chunks agree at, before and behind every row, and at segments' edges."""
    reader = Reader(made)
    begins = {offset for offset, _, _ in segments}
    for offset, address, size in segments:
        near = [at + by for at in table.addresses for by in (-1, 0, 1)]
        near += [address, address + size - 1, *(address + at for at in offsets)]
        for at in near:
            if address <= at < address + size:
                rule = table.rule_at(at)
                rule = END if rule == FRAME else PACKED.get(rule, rule)
                found = reader.rule_at(at - address + offset)
                assert (END if found == FRAME else found) == rule, hex(at)
        if offset + size not in begins:
            assert reader.rule_at(offset + size) in (END, FRAME)
    return reader


def test_constants_are_those_of_the_kernel_side():
    for name in ("UNWIND_DATA", "UNWIND_ROWS", "UNWIND_PARTS", "UNWIND_PART_BITS"):
        assert getattr(module, name) == getattr(abi, name)
    key = abi.size_of("unwind_key")
    (_, body), = chunks(table_of([(0, 4)]), [(0, 0, 9)], FRAME).chunks  # fmt: skip
    assert abi.size_of("unwind_chunk") == 2 * key + len(body)
    fields = abi.fields("unwind_chunk")
    assert [fields[name] for name in ("rows", "parts", "data")] == [
        (key, 2), (key + 2, 2 * (abi.UNWIND_PARTS - 1)), (key + 16, abi.UNWIND_DATA),
    ]  # fmt: skip


def test_rows_become_file_offsets_within_their_segments():
    table = table_of([(0x1000, 4), (0x2000, 5), (0x3000, 6), (0x9000, 7)])
    segments = [(0x100000, 0x1800, 0x1000), (0x40, 0x8FC0, 0x80)]
    made = chunks(table, segments, FRAME)
    reader = same(table, segments, made)
    assert (made.page_shift, made.left_out, made.refused) == (16, 0, 7)
    assert [key for key, _ in made.chunks] == [0, 0x10 << 3]
    assert reader.rule_at(0x3F) == reader.rule_at(0xFFFFF) == END
    assert reader.rule_at(0x40) == RULES[6]
    assert reader.rule_at(0x100000) == RULES[4]


def test_a_page_inherits_what_began_before_it():
    table = table_of([(0x100, 4), (0x35000, 5), (0x35001, 0)])
    made = chunks(table, [(0, 0, 0x40000)], FRAME)
    assert [key >> 3 for key, _ in made.chunks] == [0, 1, 2, 3]
    same(table, [(0, 0, 0x40000)], made, offsets=(0x10000, 0x2FFFF, 0x30000))


def test_pages_that_say_no_more_than_no_chunk_are_none():
    table = table_of([(0, 3), (0x55000, 0), (0x56000, 3), (0x80000, 4)])
    made = chunks(table, [(0, 0, 0x90000)], FRAME)
    assert [key >> 3 for key, _ in made.chunks] == [8]


def test_of_segments_that_overlap_in_the_file_the_first_counts():
    table = table_of([(0x1000, 4), (0x5000, 5)])
    made = chunks(table, [(0, 0x5000, 0x200), (0x100, 0x1000, 0x200)], FRAME)
    assert Reader(made).rule_at(0x180) == RULES[5]


def test_dense_pages_have_parts():
    table = table_of((2 * n, 4 + n % 3) for n in range(0x8000))
    made = chunks(table, [(0, 0, 0x10000)], FRAME)
    assert made.page_shift < 16
    assert made.left_out == 0
    assert max(key & 7 for key, _ in made.chunks) > 1
    same(table, [(0, 0, 0x10000)], made)


def test_many_rules_leave_room_for_fewer_rows():
    table = table_of((16 * n, 4 + n % 700) for n in range(2000))
    made = chunks(table, [(0, 0, 0x10000)], FRAME)
    same(table, [(0, 0, 0x10000)], made)
    assert len(made.chunks) >= 2000 / 360


def test_sec_02_a_page_of_too_many_parts_is_unsupported_and_counted(monkeypatch):
    monkeypatch.setattr(module, "PAGE_SHIFTS", range(16, 15, -1))
    table = table_of([(0x20000 + n, 4 + n % 2) for n in range(0x10000)] + [(0x30010, 6)])
    made = chunks(table, [(0, 0, 0x40000)], FRAME)
    reader = Reader(made)
    assert made.left_out == 1
    assert reader.rule_at(0x20000) == reader.rule_at(0x2FFFF) == UNSUPPORTED
    assert reader.rule_at(0x30000) == RULES[5]
    assert reader.rule_at(0x30010) == RULES[6]


def test_sec_a_row_for_each_byte_of_some_pages():
    table = table_of((n, 4 + n % 600) for n in range(0x3000))
    made = chunks(table, [(0, 0, 0x3000)], FRAME)
    assert made.left_out == 0
    same(table, [(0, 0, 0x3000)], made)


@pytest.mark.parametrize("size", [1 << 40, 1 << 62])
def test_sec_02_code_without_end_stays_bounded(size):
    table = table_of([(0x1000, 4)])
    tracemalloc.start()
    try:
        made = chunks(table, [(0, 0, size)], FRAME)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    assert len(made.chunks) <= module.MAX_CHUNKS
    assert made.left_out >= (min(size, module.MAX_OFFSET) >> 16) - module.MAX_CHUNKS


def test_sec_segments_that_are_none():
    table = table_of([(0x1000, 4)])
    for segment in [(0, 0, 0), (1 << 63, 0, 1 << 62), (module.MAX_OFFSET, 0x1000, 0x1000)]:
        assert chunks(table, [segment], FRAME).chunks == []
    assert chunks(table_of([]), [(0, 0, 1 << 30)], FRAME).chunks == []
    assert chunks(table, [], FRAME).chunks == []


PAGES = st.integers(0, 0x7F).map(lambda page: page << 12)
PLACES = st.integers(0, 0x60000) | st.integers(0x8000, 0x8400) | PAGES
ROWS = st.dictionaries(PLACES, st.integers(0, len(RULES) - 1), max_size=60)
SEGMENTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 7), st.integers(0, 4)), max_size=4)


@settings(deadline=None)
@given(ROWS, SEGMENTS, st.integers(0, 0xFFF), st.randoms(use_true_random=False))
def test_any_table_is_found_again(rows, spans, odd, chance):
    """Segments that do not overlap in the file; addresses may lie anywhere."""
    segments, end = [], 0
    for gap, address, size in spans:
        offset = end + (gap << 12)
        end = offset + (size << 14) + odd
        segments.append((offset, (address << 16) + chance.choice([0, odd]), end - offset))
    table = table_of(rows)
    made = chunks(table, segments, FRAME)
    same(table, [one for one in segments if one[2]], made)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6000), st.integers(1, 700), st.integers(1, 40), st.integers(0, 1 << 32))
def test_any_density_is_found_again(count, rules, spread, seed):
    chance = random.Random(seed)
    at, rows = chance.randrange(1 << 17), {}
    for _ in range(count):
        rows[at] = 4 + chance.randrange(rules)
        at += chance.randint(1, spread)
    table = table_of(rows)
    made = chunks(table, [(0, 0, at)], FRAME)
    assert made.left_out == 0
    same(table, [(0, 0, at)], made)


def test_a_small_file():
    made = packed(Source.of_bytes(simple(((CODE, 0x40, PUSH_RBP),))))
    assert Reader(made).rule_at(CODE - BASE + 4) == FRAME


@pytest.mark.parametrize(
    "path", [the_libc(), Path(sys.executable).resolve()], ids=["libc", "python"]
)
def test_real_files_are_found_again(path):
    if path is None:
        pytest.skip("the C library is not glibc")
    with path.open("rb") as stream:
        source = Source.of_descriptor(stream.fileno())
        table, made = unwind_table(source), packed(source)
        segments = read_image(source).code_segments()
    assert made.left_out == 0
    assert len(made.chunks) * 4096 < 300 * len(table)
    same(table, segments, made)
