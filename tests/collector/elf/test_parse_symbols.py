# SPDX-License-Identifier: Apache-2.0
"""Ranges of functions: the rules one by one, then a search through everything as the oracle."""

from __future__ import annotations

import struct
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from collector.elf.parse import symbol_table
from collector.elf.parse_symbols import functions
from collector.elf.source import ElfError, Source
from tests.collector.elf.elf_maker import (
    BASE,
    CODE,
    CODE_SIZE,
    FUNC,
    GLOBAL,
    IFUNC,
    LOCAL,
    NOTYPE,
    OBJECT,
    WEAK,
    symbol,
    symbol_bytes,
)

START = BASE + CODE
SECTIONS = {1: (START, START + CODE_SIZE)}


def ranges(symbols, sections=SECTIONS, **form):
    table, strings = symbol_bytes(symbols, form.get("bits", 64), form.pop("order", "<"))
    found = functions(table, strings, sections, **form)
    return [
        (start - START, end - START, strings[name : strings.index(b"\0", name)])
        for start, end, name in zip(found.starts, found.ends, found.names, strict=True)
    ]


def test_sized_functions_keep_their_size():
    assert ranges([symbol(b"b", 64, 8), symbol(b"a", 0, 16)]) == [(0, 16, b"a"), (64, 72, b"b")]


def test_an_unsized_one_ends_at_the_next_or_with_its_section():
    found = ranges([symbol(b"a", 0), symbol(b"b", 64)])
    assert found == [(0, 64, b"a"), (64, CODE_SIZE, b"b")]


def test_an_unsized_label_does_not_interrupt_a_sized_function():
    assert ranges([symbol(b"f", 0, 32), symbol(b"loop", 8, kind=NOTYPE)]) == [(0, 32, b"f")]


def test_a_nested_function_splits_the_outer_one():
    found = ranges([symbol(b"outer", 0, 100), symbol(b"inner", 40, 20)])
    assert found == [(0, 40, b"outer"), (40, 60, b"inner"), (60, 100, b"outer")]


@pytest.mark.parametrize(
    ("symbols", "winner"),
    [
        ([symbol(b"x", 0, 4, binding=LOCAL), symbol(b"longer", 0, 4, binding=GLOBAL)], b"longer"),
        ([symbol(b"x", 0, 4, binding=WEAK), symbol(b"longer", 0, 4, binding=GLOBAL)], b"longer"),
        ([symbol(b"__read", 0, 4), symbol(b"read", 0, 4)], b"read"),
        ([symbol(b"bb", 0, 4), symbol(b"aa", 0, 4)], b"aa"),
        ([symbol(b"x", 0, 4, kind=NOTYPE), symbol(b"typed", 0, 4, binding=LOCAL)], b"typed"),
        ([symbol(b"_ifunc", 0, 4, kind=IFUNC)], b"_ifunc"),
    ],
)
def test_the_best_alias_wins_in_any_order(symbols, winner):
    assert ranges(symbols) == ranges(symbols[::-1]) == [(0, 4, winner)]


@pytest.mark.parametrize(
    "left_out",
    [
        symbol(b"data", 0, 4, kind=OBJECT),
        symbol(b"undefined", 0, 4, section=0),
        symbol(b"absolute", 0, 4, section=0xFFF1),
        symbol(b"elsewhere", CODE_SIZE, 4),
        symbol(b"", 0, 4),
        symbol(b"$x", 0, 0, kind=NOTYPE),
        symbol(b".Lloop", 0, 0, kind=NOTYPE),
    ],
)
def test_what_names_no_code_is_left_out(left_out):
    assert ranges([left_out, symbol(b"f", 8, 4)]) == [(8, 12, b"f")]


def test_a_range_ends_with_its_section():
    assert ranges([symbol(b"f", CODE_SIZE - 4, (1 << 64) - 1)]) == [
        (CODE_SIZE - 4, CODE_SIZE, b"f")
    ]


@pytest.mark.parametrize("form", [{"bits": 32}, {"order": ">", "little_endian": False}])
def test_other_classes_and_byte_orders(form):
    assert ranges([symbol(b"f", 4, 8)], **form) == [(4, 12, b"f")]


def test_a_gap_is_answered_with_its_extent():
    table, strings = symbol_bytes([symbol(b"a", 0, 16), symbol(b"b", 64, 8)])
    found = functions(table, strings, SECTIONS)
    assert found.lookup(START + 20) == (START + 16, START + 64, None)
    assert found.lookup(0) == (0, START, None)
    assert found.lookup(START + 72) == (START + 72, 1 << 64, None)


def test_a_table_cut_within_an_entry_is_an_error():
    with pytest.raises(ElfError):
        functions(bytes(25), b"\0", SECTIONS)


@given(st.lists(st.binary(min_size=24, max_size=24), max_size=20), st.binary(max_size=40))
def test_any_table_gives_disjoint_ascending_ranges(entries, strings):
    found = functions(b"".join(entries), strings, {1: (0, 1 << 64), 2: (4096, 8192)})
    edges = [edge for pair in zip(found.starts, found.ends, strict=True) for edge in pair]
    assert all(start < end for start, end in zip(found.starts, found.ends, strict=True))
    assert all(low <= high for low, high in pairwise(edges))
    assert all(0 < name < len(strings) for name in found.names)


sized = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), max_size=12)


@given(sized, st.integers(0, 120))
def test_the_function_that_starts_last_covers(intervals, offset):
    symbols = [symbol(b"f%d" % start, start, size) for start, size in intervals]
    # Aliases share the longest size, so each start has one extent.
    extent = {start: 0 for start, _ in intervals}
    for start, size in intervals:
        extent[start] = max(extent[start], size)
    covering = [start for start, size in extent.items() if start <= offset < start + size]
    expected = b"f%d" % max(covering) if covering else None
    table, strings = symbol_bytes(symbols)
    start, end, name = functions(table, strings, SECTIONS).lookup(START + offset)
    assert start <= START + offset < end
    assert (None if name is None else strings[name:].split(b"\0")[0]) == expected


def libc_path():
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next(line.split()[-1] for line in lines if "/libc.so" in line or "/libc-" in line)


@pytest.mark.parametrize("path", [libc_path(), str(Path(sys.executable).resolve())])
def test_every_function_of_a_real_file_is_found_at_its_address(path):
    """pyelftools' own reading of the same table is the oracle."""
    source = Source.of_bytes(Path(path).read_bytes())
    table = symbol_table(source)
    strings = source.read_at(table.strings_offset, table.strings_size)
    found = functions(source.read_at(table.offset, table.size), strings, table.code)
    with Path(path).open("rb") as stream:
        elf = ELFFile(stream)
        section = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
        names = {}
        for entry in section.iter_symbols():
            is_function = entry["st_info"]["type"] in ("STT_FUNC", "STT_LOOS")
            if is_function and entry["st_size"] and entry["st_shndx"] in table.code:
                names.setdefault(entry["st_value"], set()).add(entry.name.encode())
    assert len(names) > 500
    for address, aliases in names.items():
        start, _, name = found.lookup(address)
        assert start == address
        assert strings[name : strings.index(b"\0", name)] in aliases


def test_sec_05_a_million_symbols_are_the_limit():
    entry = struct.pack("<IBBHQQ", 1, GLOBAL << 4 | FUNC, 0, 1, START, 4)
    last = struct.pack("<IBBHQQ", 1, GLOBAL << 4 | FUNC, 0, 1, START + 64, 4)
    table = entry * (1 << 20) + last
    found = functions(table, b"\0f\0", SECTIONS)
    assert list(found.starts) == [START]
