# SPDX-License-Identifier: Apache-2.0
"""Headers and notes: real files, files made to order, and any damage done to them."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.elf.parse import Description, describe, symbol_table
from collector.elf.parse_symbols import functions
from collector.elf.source import BudgetedStream, ElfError, Source
from tests.collector.elf.elf_maker import BASE, CODE, CODE_SIZE, make, symbol

SYMBOLS = (symbol(b"main", 0, 64), symbol(b"helper", 64, 32))


def test_build_id_and_segments():
    assert describe(Source.of_bytes(make())) == Description(
        "ab" * 20, "gnu", ((CODE, BASE + CODE, CODE_SIZE),)
    )


def test_without_a_note_edges_and_size_are_hashed():
    data = make(build_id=b"")
    edges = data[:4096] + data[-4096:] + len(data).to_bytes(8, "big")
    described = describe(Source.of_bytes(data))
    assert described.build_id_type == "hash"
    assert described.build_id == hashlib.sha256(edges).hexdigest()[:32]


@pytest.mark.skipif(not shutil.which("readelf"), reason="binutils is not installed")
def test_this_interpreter_is_described_as_by_readelf():
    path = Path(sys.executable).resolve()
    shown = subprocess.run(["readelf", "-nlW", path], capture_output=True, text=True, check=True)
    with path.open("rb") as stream:
        described = describe(Source.of_descriptor(stream.fileno()))
    if described.build_id_type == "gnu":
        assert f"Build ID: {described.build_id}" in shown.stdout
    (line,) = (
        line.split()
        for line in shown.stdout.splitlines()
        if line.split()[:1] == ["LOAD"] and "E" in line.split()[6:-1]
    )
    assert described.segments == ((int(line[1], 16), int(line[2], 16), int(line[4], 16)),)


def test_symbols_lie_in_symtab_else_dynsym_else_nowhere():
    data = make(SYMBOLS)
    assert symbol_table(Source.of_bytes(data)).size == 3 * 24
    assert symbol_table(Source.of_bytes(make(SYMBOLS, table_type=11))).size == 3 * 24
    assert symbol_table(Source.of_bytes(make(SYMBOLS, sections=False))) is None


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (0x10, "<H", 4),  # e_type ET_CORE
        (0x20, "<Q", 1 << 63),  # e_phoff
        (0x20, "<Q", 0xFFFFFFFFFFFFFFFF),
        (0x36, "<H", 0),  # e_phentsize
        (0x38, "<H", 0xFFFF),  # e_phnum: PN_XNUM
        (0x04, "<B", 3),  # EI_CLASS
    ],
)
def test_sec_01_header_fields_at_their_edges(offset, form, value):
    data = bytearray(make(SYMBOLS))
    struct.pack_into(form, data, offset, value)
    with pytest.raises(ElfError):
        describe(Source.of_bytes(bytes(data)))


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (0x28, "<Q", 1 << 63),  # e_shoff
        (0x3A, "<H", 1),  # e_shentsize
        (0x3C, "<H", 0xFEFF),  # e_shnum
    ],
)
def test_sec_01_section_fields_at_their_edges(offset, form, value):
    data = bytearray(make(SYMBOLS))
    struct.pack_into(form, data, offset, value)
    with pytest.raises(ElfError):
        symbol_table(Source.of_bytes(bytes(data)))


def test_sec_01_a_sparse_file_full_of_notes_runs_out_of_budget():
    data = bytearray(make())
    struct.pack_into("<Q", data, 64 + 56 + 8, 0x800)  # p_offset: zeros, a note every 12 bytes
    struct.pack_into("<Q", data, 64 + 56 + 32, 1 << 40)  # p_filesz
    whole = bytes(data)

    def pread(offset, size):
        return whole[offset : offset + size].ljust(size, b"\0")

    with pytest.raises(ElfError, match="too much reading"):
        describe(Source(1 << 41, pread))


def test_sec_06_a_file_that_shrinks_is_an_error():
    source = Source(100, lambda offset, size: bytes(50)[offset : offset + size])
    assert source.read_at(0, 50) == bytes(50)
    with pytest.raises(ElfError, match="shrank"):
        source.read_at(40, 20)


def test_a_stream_gives_no_more_than_its_budget():
    stream = BudgetedStream(Source.of_bytes(bytes(10)))
    assert stream.read(20) == bytes(10)
    with pytest.raises(ElfError):
        stream.read(BudgetedStream.max_bytes)


def everything(data):
    """What the worker would do with a file."""
    source = Source.of_bytes(data)
    describe(source)
    table = symbol_table(source)
    if table is None:
        return
    entries = source.read_at(table.offset, table.size)
    strings = source.read_at(table.strings_offset, table.strings_size)
    found = functions(
        entries, strings, table.code, bits=table.bits, little_endian=table.little_endian
    )
    found.lookup(BASE + CODE + 3)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_value_or_an_elf_error(data):
    with contextlib.suppress(ElfError):
        everything(data)


GOOD = make(SYMBOLS)
STRUCTURE = [*range(250), *range(CODE + CODE_SIZE, len(GOOD))]
VALUES = st.sampled_from([0, 1, 2, 3, 4, 7, 0x7F, 0x80, 0xFE, 0xFF]) | st.integers(0, 255)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(STRUCTURE), VALUES), min_size=1, max_size=12))
def test_any_damage_gives_a_value_or_an_elf_error(changes):
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    with contextlib.suppress(ElfError):
        everything(bytes(data))


@given(st.integers(0, len(GOOD) - 1))
def test_any_truncation_gives_a_value_or_an_elf_error(size):
    with contextlib.suppress(ElfError):
        everything(GOOD[:size])


def test_the_file_damaged_above_is_a_good_one():
    everything(GOOD)
