# SPDX-License-Identifier: Apache-2.0
"""From the bytes of a symbol table to sorted, disjoint ranges of functions.

Pure passes over arrays: a table of a million symbols must not become a million objects that
stay. Each pass states what it expects of its input.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from collector.elf.source import ElfError

MAX_SYMBOLS = 1 << 20
"""Symbols beyond it are left out: 24 MiB of table, a second or two of work."""

MAX_STRINGS = 1 << 27

_LIMIT = 1 << 64
_NOTYPE = 0
_KINDS = frozenset((_NOTYPE, 2, 10))
"""STT_NOTYPE, STT_FUNC, STT_GNU_IFUNC."""

_BINDING_RANK = {1: 0, 10: 0, 2: 1}
"""STB_GLOBAL and STB_GNU_UNIQUE first, then STB_WEAK, then (2) whatever is local."""

Code = dict[int, tuple[int, int]]
Answer = tuple[int, int, int | None]
"""Start and end of the range in which this answer holds, and the name's place in the strings."""


@dataclass(frozen=True, slots=True)
class Functions:
    """Disjoint ranges [starts[i], ends[i]), ascending; names[i] is an offset into the strings."""

    starts: array[int]
    ends: array[int]
    names: array[int]

    def lookup(self, address: int) -> Answer:
        """The function that covers an address, or the gap around it with None."""
        index = bisect_right(self.starts, address) - 1
        if index >= 0 and address < self.ends[index]:
            return self.starts[index], self.ends[index], self.names[index]
        start = self.ends[index] if index >= 0 else 0
        end = self.starts[index + 1] if index + 1 < len(self.starts) else _LIMIT
        return start, end, None


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Symbols that may name code, in table order; `ends` equals `starts` where unsized."""

    starts: array[int]
    ends: array[int]
    limits: array[int]
    names: array[int]
    ranks: array[int]


def functions(
    table: bytes, strings: bytes, code: Code, *, bits: int = 64, little_endian: bool = True
) -> Functions:
    """Any bytes give ranges; only a table that is no whole number of entries is an ElfError.

    Of aliases at one address: typed before untyped, global before weak before local, the
    shortest name, then the first by bytes. A symbol without a size ends at the next one and
    does not interrupt a sized one; ranges end with their section.
    """
    found = _candidates(table, len(strings), code, bits, little_endian)
    order = _distinct(found, strings)
    result = Functions(array("Q"), array("Q"), array("I"))
    for start, end, name in _flatten(found, order):
        result.starts.append(start)
        result.ends.append(end)
        result.names.append(name)
    return result


def _entry_format(bits: int, little_endian: bool) -> struct.Struct:
    order = "<" if little_endian else ">"
    return struct.Struct(order + ("IBBHQQ" if bits == 64 else "IIIBBH"))


def _entries(table: bytes, bits: int, little_endian: bool) -> Iterator[tuple[int, ...]]:
    """(name, info, section, value, size) of at most MAX_SYMBOLS entries."""
    layout = _entry_format(bits, little_endian)
    if len(table) % layout.size:
        raise ElfError("the symbol table ends within an entry")
    rows = layout.iter_unpack(table[: MAX_SYMBOLS * layout.size])
    if bits == 64:
        return ((name, info, shndx, value, size) for name, info, _, shndx, value, size in rows)
    return ((name, info, shndx, value, size) for name, value, size, info, _, shndx in rows)


def _candidates(
    table: bytes, strings_size: int, code: Code, bits: int, little_endian: bool
) -> _Candidates:
    found = _Candidates(array("Q"), array("Q"), array("Q"), array("I"), array("B"))
    for name, info, section, value, size in _entries(table, bits, little_endian):
        kind = info & 15
        if kind not in _KINDS or section not in code or not 0 < name < strings_size:
            continue
        low, limit = code[section]
        limit = min(limit, _LIMIT - 1)
        if not low <= value < limit:
            continue
        found.starts.append(value)
        found.ends.append(min(value + size, limit))
        found.limits.append(limit)
        found.names.append(name)
        found.ranks.append(4 * (kind == _NOTYPE) + _BINDING_RANK.get(info >> 4, 2))
    return found


def _distinct(found: _Candidates, strings: bytes) -> array[int]:
    """Indices by address, one for each: the best alias, with the longest end of them all."""
    bits = len(found.starts).bit_length()
    packed = [start << bits | index for index, start in enumerate(found.starts)]
    packed.sort()
    chosen = array("I")
    for key in packed:
        index = key & ((1 << bits) - 1)
        if not _usable(found, index, strings):
            continue
        if chosen and found.starts[chosen[-1]] == found.starts[index]:
            end = max(found.ends[chosen[-1]], found.ends[index])
            if _preference(found, index, strings) < _preference(found, chosen[-1], strings):
                chosen[-1] = index
            found.ends[chosen[-1]] = end
        else:
            chosen.append(index)
    return chosen


def _usable(found: _Candidates, index: int, strings: bytes) -> bool:
    """Whether a name says something; ARM's mapping symbols and local labels do not."""
    first = strings[found.names[index]]
    if not first:
        return False
    if found.ranks[index] < 4:
        return True
    return first != ord("$") and not strings.startswith(b".L", found.names[index])


def _preference(found: _Candidates, index: int, strings: bytes) -> tuple[int, int, bytes]:
    start = found.names[index]
    end = strings.find(b"\0", start, start + 512)
    name = strings[start : end if end >= 0 else start + 512]
    return found.ranks[index], len(name), name


def _flatten(found: _Candidates, order: array[int]) -> Iterator[tuple[int, int, int]]:
    """Ranges that overlap become disjoint ones; the function that starts last covers.

    `order` is ascending by start, without equals. Open functions stand on a stack.
    """
    stack: list[tuple[int, int]] = []
    position = 0
    for place, index in enumerate(order):
        start, end, name = found.starts[index], found.ends[index], found.names[index]
        while stack and stack[-1][0] <= start:
            closed, closed_name = stack.pop()
            if position < closed:
                yield position, closed, closed_name
                position = closed
        if end == start:
            if stack:
                continue
            following = found.starts[order[place + 1]] if place + 1 < len(order) else _LIMIT
            end = min(following, found.limits[index])
        if stack and position < start:
            yield position, start, stack[-1][1]
        position = start
        stack.append((end, name))
    while stack:
        closed, closed_name = stack.pop()
        if position < closed:
            yield position, closed, closed_name
            position = closed
