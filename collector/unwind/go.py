# SPDX-License-Identifier: Apache-2.0
"""Functions of Go's runtime by name, from the table that also stripped Go programs carry.

Layout of .gopclntab since Go 1.18 (src/internal/abi/symtab.go, src/debug/gosym/pclntab.go):

    magic u32 · 0 0 · quantum u8 · pointer size u8 · functions · files · text start
    · names · units · file names · pcs · functions' data      (eight pointer-sized numbers)

functions' data begins with pairs (pc from text start u32, place u32) and, behind the last pair,
the end of the last pc; at each place: pc u32, name's place in names u32.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

from collector.elf.source import ElfError

_MAGICS = frozenset((0xFFFFFFF0, 0xFFFFFFF1))
_HEAD = struct.Struct("<IHBB8Q")
_PAIR = struct.Struct("<II")
MAX_FUNCTIONS = 1 << 20

Range = tuple[int, int]


def go_functions(table: bytes, names: frozenset[bytes], text: int) -> dict[bytes, Range]:
    """Address and end of the named functions, as far as found. `text` is the address of .text,
    for tables that leave it out (Go 1.26 on).

    Raises ElfError for a table that is none of the known layouts.
    """
    try:
        magic, zero, _, pointer, count, _, start, *places = _HEAD.unpack_from(table)
    except struct.error as error:
        raise ElfError("Go's function table is cut off") from error
    if magic not in _MAGICS or zero or pointer != 8 or count > MAX_FUNCTIONS:
        raise ElfError("Go's function table is of an unknown layout")
    data = places[4]
    if data + (count + 1) * _PAIR.size > len(table) or places[0] > len(table):
        raise ElfError("Go's function table is cut off")
    wanted = {place: name for name in names for place in _places(table, places[0], name)}
    return dict(_found(table, data, count, wanted, start or text))


def _places(table: bytes, begin: int, name: bytes) -> Iterator[int]:
    place = table.find(b"\0" + name + b"\0", begin)
    if place >= 0:
        yield place + 1 - begin


def _found(
    table: bytes, data: int, count: int, wanted: dict[int, bytes], text: int
) -> Iterator[tuple[bytes, Range]]:
    pairs = memoryview(table)[data : data + (count + 1) * _PAIR.size]
    rows = list(_PAIR.iter_unpack(pairs))
    for (pc, place), (following, _) in pairwise(rows):
        at = data + place + 4
        if at + 4 > len(table):
            raise ElfError("Go's function table is cut off")
        name = wanted.get(int.from_bytes(table[at : at + 4], "little"))
        if name is not None:
            yield name, (text + pc, text + max(pc, following))
