# SPDX-License-Identifier: Apache-2.0
"""Which parts of a mapped executable are still wanted, of one whose file is not at hand.

    header page -> notes, first 8 bytes of .eh_frame_hdr -> .eh_frame

Only what is mapped as it stands in the file can be had: no section headers, no .symtab, and not
.dynamic either, which the dynamic linker writes to, and which would lead to .dynsym.

Pure: any source gives extents within it, at most MAX_BYTES with those present, or ElfError.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from collector.elf.source import ElfError, Source
from collector.unwind.image import Image, Segment, read_image
from collector.unwind.table import unwind_frames

MAX_BYTES = 64 << 20
_MAX_NOTES = 8
_MAX_NOTE = 1 << 16
_PAGE = 4096
_NOTE = 4
_POINTER = 8
"""Bytes of .eh_frame_hdr up to the place of .eh_frame. The search table behind is not used."""

Range = tuple[int, int]
"""File offset and size."""


class Extent(NamedTuple):
    """`distance` is that of its address from the address of the executable mapping."""

    offset: int
    distance: int
    size: int


def plan(source: Source, mapped: int, present: Iterable[Range]) -> list[Extent]:
    """What is wanted beside `present`; nothing when all is there that can be used.

    `mapped` is the file offset of an executable mapping. Raises ElfError.
    """
    image, present = read_image(source), sorted(present)
    start = _address(image, mapped)
    left = MAX_BYTES - sum(size for _, size in present)
    extents: list[Extent] = []
    for address, most in _wanted(image, present):
        segment = image.loaded(address)
        offset = segment.offset + address - segment.address
        size = min(most, segment.address + segment.size - address, source.size - offset, left)
        if size > 0 and not _covered(present, offset, size):
            extents.append(Extent(offset, address - start, size))
            left -= size
    return extents


def _address(image: Image, mapped: int) -> int:
    """Where a file offset lies, by the executable segment that was mapped from its page on."""
    for segment in image.segments:
        begin = segment.offset - segment.offset % _PAGE
        if segment.is_code and begin <= mapped < segment.offset + segment.size:
            return segment.address + mapped - segment.offset
    raise ElfError("no executable segment begins where the mapping does")


def _wanted(image: Image, present: list[Range]) -> Iterator[tuple[int, int]]:
    """Address and size; a part that another one tells of, once that one is there."""
    notes = [segment for segment in image.segments if segment.kind == _NOTE]
    for note in notes[:_MAX_NOTES]:
        if note.size <= _MAX_NOTE and _is_loaded(image, note):
            yield note.address, note.size
    header = image.unwind_header()
    if header is None or not _is_loaded(image, header):
        return
    yield header.address, _POINTER
    if _covered(present, header.offset, _POINTER):
        yield unwind_frames(image, header)


def _is_loaded(image: Image, part: Segment) -> bool:
    try:
        return image.offset(part.address) == part.offset
    except ElfError:
        return False


def _covered(present: list[Range], offset: int, size: int) -> bool:
    """Expects ranges ascending by their offsets."""
    end = offset + size
    for begin, length in present:
        if begin <= offset < begin + length:
            offset = begin + length
    return offset >= end
