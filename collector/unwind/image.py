# SPDX-License-Identifier: Apache-2.0
"""Where an ELF file keeps what unwinding needs: its headers, read with struct.

Pure: a source gives a value or ElfError. 64-bit little-endian files only; a file without
section headers is one without sections.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from collector.elf.source import ElfError, Source

MAX_CONTENTS = 1 << 26
"""Bytes of one section, as stored and after decompression."""

ADDRESS_LIMIT = 1 << 63
"""User space lies below it on every architecture, so sums of addresses stay 64 bits wide."""

_MAX_SEGMENTS = 256
_MAX_SECTIONS = 4096
_MAX_NAMES = 1 << 20

_FILE = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_COMPRESSED = struct.Struct("<IIQQ")

_LITTLE_64 = b"\x7fELF\x02\x01"
_LOAD, _INTERP, _EH_FRAME_HDR = 1, 3, 0x6474E550
_NOBITS = 8
_SHF_COMPRESSED = 0x800
_ZLIB = 1
_EXECUTABLE, _SHARED = 2, 3


@dataclass(frozen=True, slots=True)
class Segment:
    """`size` counts the bytes in the file; address + size stays below ADDRESS_LIMIT."""

    kind: int
    flags: int
    offset: int
    address: int
    size: int

    @property
    def is_code(self) -> bool:
        return self.kind == _LOAD and bool(self.flags & 1)


@dataclass(frozen=True, slots=True)
class Section:
    """`link` is the number of another section; address + size stays below ADDRESS_LIMIT."""

    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True, slots=True)
class Image:
    """Sections by name, the first of each name, and by number."""

    source: Source
    machine: int
    entry: int
    program: bool
    """Whether `entry` begins a process, not just a library's text."""
    segments: tuple[Segment, ...]
    sections: dict[bytes, Section]
    numbered: tuple[Section, ...]

    def code(self) -> tuple[tuple[int, int], ...]:
        """Address and end of what can be executed, ascending; of two that overlap the first."""
        found = sorted((s.address, s.address + s.size) for s in self.segments if s.is_code)
        return apart(found)

    def code_segments(self) -> list[tuple[int, int, int]]:
        """File offset, address and size of what can be executed, as far as the file has it."""
        return [
            (s.offset, s.address, min(s.size, self.source.size - s.offset))
            for s in self.segments
            if s.is_code and s.offset < self.source.size
        ]

    def segment(self, kind: int) -> Segment | None:
        """The first of that kind."""
        return next((s for s in self.segments if s.kind == kind), None)

    def unwind_header(self) -> Segment | None:
        """PT_GNU_EH_FRAME, which a file keeps when it has no section headers."""
        return self.segment(_EH_FRAME_HDR)

    def contents(self, section: Section) -> bytes:
        """The section's bytes, decompressed. Raises ElfError."""
        if section.kind == _NOBITS:
            return b""
        if section.size > MAX_CONTENTS:
            raise ElfError(f"a section of {section.size} bytes")
        data = self.source.read_at(section.offset, section.size)
        return _inflate(data) if section.flags & _SHF_COMPRESSED else data

    def loaded(self, address: int) -> Segment:
        """The PT_LOAD that has the address. Raises ElfError."""
        for segment in self.segments:
            if segment.kind == _LOAD and 0 <= address - segment.address < segment.size:
                return segment
        raise ElfError("an address outside the file's segments")

    def offset(self, address: int) -> int:
        """Where in the file an address comes from. Raises ElfError."""
        segment = self.loaded(address)
        return segment.offset + address - segment.address


def read_image(source: Source) -> Image:
    """The headers. Raises ElfError."""
    fields = _FILE.unpack(source.read_at(0, _FILE.size))
    ident, kind, machine, _, entry, segments_at, sections_at = fields[:7]
    _, _, segment_size, segment_count, section_size, section_count, names = fields[7:]
    if not ident.startswith(_LITTLE_64) or kind not in (_EXECUTABLE, _SHARED):
        raise ElfError("not a 64-bit little-endian executable")
    if segment_count > _MAX_SEGMENTS or section_count > _MAX_SECTIONS:
        raise ElfError(f"{segment_count} segments, {section_count} sections")
    if segment_count and segment_size != _SEGMENT.size:
        raise ElfError(f"program headers of {segment_size} bytes")
    if section_count and section_size != _SECTION.size:
        raise ElfError(f"section headers of {section_size} bytes")
    segments = _segments(source.read_at(segments_at, segment_count * _SEGMENT.size))
    headers = _sections(source.read_at(sections_at, section_count * _SECTION.size))
    program = kind == _EXECUTABLE or any(segment.kind == _INTERP for segment in segments)
    return Image(source, machine, entry, program, segments, *_named(source, headers, names))


def apart(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Expects ranges ascending; leaves out empty ones and those that overlap the one before."""
    kept: list[tuple[int, int]] = []
    for low, high in ranges:
        if low < high and (not kept or kept[-1][1] <= low):
            kept.append((low, high))
    return tuple(kept)


def _segments(headers: bytes) -> tuple[Segment, ...]:
    rows = _SEGMENT.iter_unpack(headers)
    return tuple(
        Segment(kind, flags, offset, address, size)
        for kind, flags, offset, address, _, size, _, _ in rows
        if address + size < ADDRESS_LIMIT
    )


def _sections(headers: bytes) -> tuple[tuple[int, Section], ...]:
    """With the place of each one's name. Those beyond ADDRESS_LIMIT are empty."""
    return tuple(
        (name, Section(kind, flags, address, offset, size, link))
        if address + size < ADDRESS_LIMIT
        else (name, Section(_NOBITS, 0, 0, 0, 0, 0))
        for name, kind, flags, address, offset, size, link, *_ in _SECTION.iter_unpack(headers)
    )


def _named(
    source: Source, headers: tuple[tuple[int, Section], ...], names: int
) -> tuple[dict[bytes, Section], tuple[Section, ...]]:
    sections = tuple(section for _, section in headers)
    if names >= len(sections):
        return {}, sections
    strings = source.read_at(sections[names].offset, min(sections[names].size, _MAX_NAMES))
    found: dict[bytes, Section] = {}
    for place, section in headers:
        end = strings.find(b"\0", place, place + 64)
        if end >= 0:
            found.setdefault(strings[place:end], section)
    return found, sections


def _inflate(data: bytes) -> bytes:
    """A compressed section: Elf64_Chdr, then a zlib stream of not more than MAX_CONTENTS."""
    if len(data) < _COMPRESSED.size:
        raise ElfError("a compressed section ends within its header")
    kind, _, size, _ = _COMPRESSED.unpack_from(data)
    if kind != _ZLIB or size > MAX_CONTENTS:
        raise ElfError(f"compression {kind} of {size} bytes")
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(data[_COMPRESSED.size :], size + 1)
    except zlib.error as error:
        raise ElfError("a compressed section is damaged") from error
    if len(inflated) != size:
        raise ElfError("a compressed section has not the size it claims")
    return inflated
