# SPDX-License-Identifier: Apache-2.0
"""Functions that are known by name or by their code, where no CFI describes them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from collector.elf.parse_symbols import MAX_STRINGS, MAX_SYMBOLS
from collector.elf.source import Source
from collector.unwind.image import Image, Section

BOTTOMS = frozenset((b"_start", b"clone", b"__clone", b"clone3", b"__clone3"))
"""Where a process or a thread begins: nothing called them. A libc without CFI has them too."""

_SYMTAB, _DYNSYM = 2, 11
_MAX_TABLES = 2
_MAX_FOUND = 64
_ENTRY = 24
_CHUNK = 1 << 20
_MAX_SEARCHED = 1 << 28

_Range = tuple[int, int]


def named(image: Image, names: frozenset[bytes]) -> Iterator[_Range]:
    """Address and end of functions of these names in .symtab and .dynsym. Raises ElfError."""
    tables = [table for table in image.numbered if table.kind in (_SYMTAB, _DYNSYM)]
    for table in tables[:_MAX_TABLES]:
        if table.link < len(image.numbered):
            found = _named_in(image.source, table, image.numbered[table.link], names)
            yield from islice(found, _MAX_FOUND)


def _named_in(
    source: Source, table: Section, strings: Section, names: frozenset[bytes]
) -> Iterator[_Range]:
    size = min(table.size, MAX_SYMBOLS * _ENTRY) // _ENTRY * _ENTRY
    text = source.read_at(strings.offset, min(strings.size, MAX_STRINGS))
    wanted = {place for name in names for place in _places(text, name)}
    if not wanted:
        return
    entries = source.read_at(table.offset, size)
    places = memoryview(entries).cast("I")[:: _ENTRY // 4]
    for index, place in enumerate(places):
        if place in wanted:
            entry = memoryview(entries)[index * _ENTRY : (index + 1) * _ENTRY]
            start, extent = entry[8:].cast("Q")
            if start:
                yield start, start + extent


def _places(text: bytes, name: bytes) -> Iterator[int]:
    """Of the name as a whole string, and of the first strings that end with it.

    Linkers let a string share the end of a longer one; a few occurrences are enough.
    """
    place = -1
    for _ in range(64):
        place = text.find(name + b"\0", place + 1)
        if place < 0:
            return
        yield place


def occurrences(source: Source, code: bytes, offset: int, size: int) -> Iterator[int]:
    """Where in a part of the file a piece of code stands, relative to it: the first of each MiB.

    Searches at most 256 MiB. Raises ElfError.
    """
    for skipped in range(0, min(size, _MAX_SEARCHED), _CHUNK):
        length = min(_CHUNK + len(code) - 1, size - skipped)
        place = source.read_at(offset + skipped, length).find(code)
        if place >= 0:
            yield skipped + place
