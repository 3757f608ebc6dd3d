# SPDX-License-Identifier: Apache-2.0
"""Kernel symbols as offsets from _text, kept in a few flat arrays.

Input is what the `ksym` iterator of bpf/ prints, one line a symbol:

    <signed decimal offset from _text> <type character> <name> [<module>]

with [vmlinux] for the core kernel. Types are those of nm(1).
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import le

_LINE = re.compile(rb"^(-?[0-9]{1,20}) ([!-~]) ([!-~]{1,1024}) \[([!-~]{1,64})\]$", re.MULTILINE)
_RANK = {ord("T"): 0, ord("W"): 1, ord("t"): 2, ord("w"): 3}
_NO_FUNCTION_RANK = 9
_NO_FUNCTION = 0xFFFF
_LONGEST_FUNCTION = 256 * 1024
"""A symbol has no size here; the last one before a gap must not swallow the gap."""


@dataclass(frozen=True, slots=True)
class KernelSymbols:
    """Functions of the running kernel, ordered by offset.

    names holds the names end to end; the name of entry i is
    names[name_starts[i]:name_starts[i + 1]]. modules[module_of[i]] is its module. An entry of
    no function ends the one before it. malformed counts lines that were not understood.
    """

    offsets: array[int]
    name_starts: array[int]
    names: bytes
    module_of: array[int]
    modules: tuple[str, ...]
    malformed: int

    @classmethod
    def parse(cls, text: bytes) -> KernelSymbols:
        """Any bytes give symbols: a line that does not fit is counted and left out."""
        lines = _Lines.read(text)
        offsets, starts, module_of = array("q"), array("I"), array("H")
        names = bytearray()
        for index in _one_per_offset(lines):
            offsets.append(lines.offsets[index])
            starts.append(len(names))
            module_of.append(lines.module_of[index])
            names += lines.name(index)
        starts.append(len(names))
        count = text.count(b"\n") + (text[-1:] not in (b"", b"\n"))
        malformed = count - len(lines.offsets)
        return cls(offsets, starts, bytes(names), module_of, lines.modules, malformed)

    def resolve(self, offset: int) -> tuple[str, str] | None:
        """(function, module) that covers a signed offset from _text, or None."""
        index = bisect_right(self.offsets, offset) - 1
        if index < 0 or offset - self.offsets[index] > _LONGEST_FUNCTION:
            return None
        module = self.module_of[index]
        if module == _NO_FUNCTION:
            return None
        name = self.names[self.name_starts[index] : self.name_starts[index + 1]]
        return name.decode("ascii"), self.modules[module]

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def size_bytes(self) -> int:
        """Memory held, without the few objects around the arrays."""
        tables = (self.offsets, self.name_starts, self.module_of)
        return len(self.names) + sum(len(table) * table.itemsize for table in tables)


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines as they came. Arrays, not objects: 120,000 tuples would be 25 MiB at once."""

    text: bytes
    offsets: array[int]
    ranks: array[int]
    name_starts: array[int]
    name_ends: array[int]
    module_of: array[int]
    modules: tuple[str, ...]

    @classmethod
    def read(cls, text: bytes) -> _Lines:
        offsets, ranks, module_of = array("q"), array("B"), array("H")
        starts, ends = array("I"), array("I")
        modules: dict[bytes, int] = {}
        for line in _LINE.finditer(text):
            offset, rank = int(line[1]), _RANK.get(line[2][0], _NO_FUNCTION_RANK)
            module = _NO_FUNCTION
            if rank != _NO_FUNCTION_RANK:
                module = modules.setdefault(line[4], len(modules))
            if not -(1 << 63) <= offset < 1 << 63 or module > _NO_FUNCTION:
                continue
            offsets.append(offset)
            ranks.append(rank)
            module_of.append(module)
            starts.append(line.start(3))
            ends.append(line.end(3))
        decoded = tuple(module.decode("ascii") for module in modules)
        return cls(text, offsets, ranks, starts, ends, module_of, decoded)

    def name(self, index: int) -> bytes:
        if self.ranks[index] == _NO_FUNCTION_RANK:
            return b""
        return self.text[self.name_starts[index] : self.name_ends[index]]


def _one_per_offset(lines: _Lines) -> Iterator[int]:
    """Indices ordered by offset: of aliases the best, of a run of no functions the first."""
    in_function = False
    order = iter(_order(lines.offsets))
    best = next(order, None)
    while best is not None:
        following = next(order, None)
        while following is not None and lines.offsets[following] == lines.offsets[best]:
            if _preference(lines, following) < _preference(lines, best):
                best = following
            following = next(order, None)
        is_function = lines.ranks[best] != _NO_FUNCTION_RANK
        if is_function or in_function:
            yield best
        in_function, best = is_function, following


def _preference(lines: _Lines, index: int) -> tuple[int, int, bytes]:
    """Globals first, then the shortest name, then by name: the same on every host."""
    name = lines.name(index)
    return lines.ranks[index], len(name), name


def _order(offsets: array[int]) -> Iterable[int]:
    """Indices by offset. Core symbols come sorted, those of modules do not."""
    if all(map(le, offsets, islice(offsets, 1, None))):
        return range(len(offsets))
    bits = len(offsets).bit_length()
    packed = [offset << bits | index for index, offset in enumerate(offsets)]
    packed.sort()
    return (key & ((1 << bits) - 1) for key in packed)
