# SPDX-License-Identifier: Apache-2.0
"""Headers of ELF files, at their edges, and code found by its bytes."""

from __future__ import annotations

import struct

import pytest

from collector.elf.source import ElfError, Source
from collector.unwind.image import MAX_CONTENTS, Section, apart, read_image
from collector.unwind.landmarks import named, occurrences
from tests.collector.unwind.cfi_maker import BASE, NOBITS, STRTAB, SYMTAB, elf, section, simple

GOOD = simple()


def changed(offset, form, value):
    data = bytearray(GOOD)
    struct.pack_into(form, data, offset, value)
    return Source.of_bytes(bytes(data))


def test_segments_and_sections():
    image = read_image(Source.of_bytes(GOOD))
    assert image.machine == 62
    assert image.code() == ((BASE, BASE + 0x8000),)
    assert set(image.sections) == {b"", b".text", b".eh_frame", b".shstrtab"}
    assert image.offset(BASE + 5) == 5
    with pytest.raises(ElfError):
        image.offset(BASE + 0x8000)


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (0x04, "<B", 1),  # EI_CLASS: 32 bits
        (0x05, "<B", 2),  # EI_DATA: big-endian
        (0x10, "<H", 1),  # e_type ET_REL
        (0x20, "<Q", 1 << 63),  # e_phoff
        (0x28, "<Q", (1 << 64) - 1),  # e_shoff
        (0x36, "<H", 57),  # e_phentsize
        (0x38, "<H", 257),  # e_phnum
        (0x3A, "<H", 0),  # e_shentsize
        (0x3C, "<H", 4097),  # e_shnum
    ],
)
def test_sec_header_fields_at_their_edges(offset, form, value):
    with pytest.raises(ElfError):
        read_image(changed(offset, form, value))


def test_without_a_table_of_names_sections_have_none():
    image = read_image(changed(0x3E, "<H", 0xFFFF))
    assert image.sections == {}
    assert len(image.numbered) == 4


def test_sec_a_segment_that_wraps_around_is_left_out():
    image = read_image(changed(64 + 16, "<Q", (1 << 64) - 16))
    assert image.segments == image.code() == ()


def test_contents_are_bounded_and_none_where_the_file_has_none():
    image = read_image(Source(1 << 40, lambda offset, size: GOOD[offset : offset + size]))
    with pytest.raises(ElfError, match="bytes"):
        image.contents(Section(1, 0, 0, 0, MAX_CONTENTS + 1, 0))
    assert image.contents(Section(NOBITS, 0, 0, 0, 1 << 62, 0)) == b""


def test_of_ranges_that_overlap_the_first_stays():
    assert apart([(0, 4), (2, 6), (4, 4), (4, 9)]) == ((0, 4), (4, 9))


def test_code_is_found_also_across_two_reads():
    code = b"\x0f\x05\xc3"
    data = bytearray(3 << 20)
    for place in (0x10, (1 << 20) - 1, (3 << 20) - 3):
        data[place : place + 3] = code
    source = Source.of_bytes(bytes(data))
    assert list(occurrences(source, code, 0, len(data))) == [0x10, (3 << 20) - 3]
    assert list(occurrences(source, code, 0x20, 2 << 20)) == [(1 << 20) - 0x21]


def test_sec_many_symbols_of_one_name_are_not_all_read():
    strings = b"\0_start\0"
    entry = struct.pack("<IBBHQQ", 1, 2, 0, 1, BASE, 4)
    tables = [
        section(b".symtab", entry * 1000, kind=SYMTAB, link=2),
        section(b".strtab", strings, kind=STRTAB),
        *(section(b".more", entry * 1000, kind=SYMTAB, link=2) for _ in range(9)),
    ]
    image = read_image(Source.of_bytes(elf(tables)))
    assert list(named(image, frozenset([b"_start"]))) == [(BASE, BASE + 4)] * 128
