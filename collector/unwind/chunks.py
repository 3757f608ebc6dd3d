# SPDX-License-Identifier: Apache-2.0
"""A table in the pieces in which the kernel side looks it up, by file offset.

    key    page << 3 | part, where page is a file offset >> page_shift
    chunk  rows u16 · where parts 1 to 7 begin 7 * u16 · data, UNWIND_DATA bytes:
           row starts u16 · numbers of their rules u8 · free · rules of 8 bytes, the first one last
    rule   cfa u8 · frame u8 · frame_offset i16 · offset i32

That is struct unwind_chunk of bpf/abi.h without its keys, in the byte order of this machine. A page
that is not here has no rows: where it lies in an executable, stacks go on by frame pointer.

Pure: any table and segments give chunks of at most MAX_CHUNKS, in time that follows rows and pages.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from collector.elf.source import Source
from collector.unwind.image import read_image
from collector.unwind.rows import END_ID, UNSUPPORTED, UNSUPPORTED_ID, Rule, Table
from collector.unwind.table import ARCHITECTURES, unwind_table

UNWIND_DATA = 3968
UNWIND_ROWS = 1023
UNWIND_PARTS = 8
UNWIND_PART_BITS = 3
"""As in bpf/abi.h, which the worker cannot import."""

MAX_UNWIND_RULES = 255

PAGE_SHIFTS = range(16, 9, -1)
"""A row's start has 16 bits. Pages of less than 1 KiB are for no code that anybody wrote."""

MAX_CHUNKS = 1 << 14
"""64 MiB in the kernel: as much as it may have for all tables, unless it is told otherwise."""

MAX_OFFSET = 1 << (32 - UNWIND_PART_BITS + PAGE_SHIFTS[-1])
"""Of a file, so that its pages have numbers. 512 GiB."""

_HEAD = struct.Struct(f"={UNWIND_PARTS}H")
_RULE = struct.Struct("=BBhi")
_SECOND_LOOKUP = 4
"""So many pages that need two lookups are as bad as one chunk more."""

Segment = tuple[int, int, int]
"""File offset, virtual address and size in the file of what can be executed."""


@dataclass(frozen=True, slots=True)
class Packed:
    """chunks: (page << 3 | part, bytes), ascending; rows counts those that they were made of.

    left_out counts pages without their rows: more than UNWIND_PARTS chunks would be needed and one
    says unsupported, or there are MAX_CHUNKS already. refused is the table's.
    """

    page_shift: int
    chunks: list[tuple[int, bytes]]
    rows: int
    left_out: int
    refused: int


class _Rows(NamedTuple):
    """Ascending file offsets, the first 0 and the last an end, and numbers of rules."""

    offsets: array[int]
    numbers: array[int]
    rules: tuple[Rule, ...]


class _Page(NamedTuple):
    """Rows [cuts[i], cuts[i + 1]) are part i; the first holds from the page's begin on."""

    number: int
    cuts: list[int]


class _Plan(NamedTuple):
    page_shift: int
    pages: list[_Page]
    chunks: int
    cost: float
    left_out: int


def packed(source: Source) -> Packed:
    """All that an executable says about unwinding. Raises ElfError."""
    table, image = unwind_table(source), read_image(source)
    return chunks(table, image.code_segments(), ARCHITECTURES[image.machine].frame_rule)


def chunks(table: Table, segments: Iterable[Segment], frame_rule: Rule) -> Packed:
    """`frame_rule` says the same as no row: by frame pointer."""
    rows = _by_offset(table, segments)
    implied = {n for n, rule in enumerate(rows.rules) if n == END_ID or rule == frame_rule}
    best: _Plan | None = None
    for shift in PAGE_SHIFTS:
        plan = _plan(rows, shift, implied)
        if best is None or (plan.left_out, plan.cost) < (best.left_out, best.cost):
            best = plan
        if not best.left_out and plan.chunks >= best.cost:
            break  # smaller pages only need more
    assert best is not None
    made = list(_made(rows, best))
    return Packed(best.page_shift, made, len(rows.offsets), best.left_out, table.refused)


def _by_offset(table: Table, segments: Iterable[Segment]) -> _Rows:
    """The rows of each segment, from one that is inherited to an end. Of segments that overlap in
    the file the first counts."""
    offsets, numbers = array("Q", [0]), array("H", [END_ID])
    addresses, limit = table.addresses, 0
    for offset, address, size in sorted(segments):
        end = min(offset + size, MAX_OFFSET)
        if offset < limit or offset >= end:
            continue
        limit, shift = end, address - offset
        first, last = bisect_right(addresses, address), bisect_left(addresses, end + shift)
        if offsets[-1] == offset:
            del offsets[-1], numbers[-1]
        offsets.append(offset)
        numbers.append(table.numbers[first - 1] if first else END_ID)
        offsets.extend(array("Q", [at - shift for at in addresses[first:last]]))
        numbers.extend(table.numbers[first:last])
        offsets.append(end)
        numbers.append(END_ID)
    return _Rows(offsets, numbers, table.rules)


def _plan(rows: _Rows, shift: int, implied: set[int]) -> _Plan:
    pages: list[_Page] = []
    count = double = left_out = 0
    for number, first, last in _pages(rows, shift):
        if implied.issuperset(rows.numbers[first:last]):
            continue
        if count + UNWIND_PARTS > MAX_CHUNKS:
            left_out += (rows.offsets[-1] >> shift) - number + 1
            break
        cuts = _cuts(rows.numbers, first, last)
        if len(cuts) > UNWIND_PARTS + 1:
            cuts = []
            left_out += 1
        pages.append(_Page(number, cuts))
        count += max(1, len(cuts) - 1)
        double += len(cuts) > 2
    return _Plan(shift, pages, count, count + double / _SECOND_LOOKUP, left_out)


def _pages(rows: _Rows, shift: int) -> Iterator[tuple[int, int, int]]:
    """(page, first, last) of each page that code reaches into, with the row it inherits."""
    offsets, first = rows.offsets, 0
    while first < len(offsets):
        page = offsets[first] >> shift
        last = bisect_left(offsets, page + 1 << shift, first)
        yield page, first - (offsets[first] > page << shift), last
        if last < len(offsets) and rows.numbers[last - 1] != END_ID:
            for between in range(page + 1, offsets[last] >> shift):
                yield between, last - 1, last
        first = last


def _cuts(numbers: array[int], first: int, last: int) -> list[int]:
    """Where parts of which each fits one chunk begin, and the end."""
    cuts = [first]
    while first < last:
        first = _fitting(numbers, first, last)
        cuts.append(first)
    return cuts


def _fitting(numbers: array[int], first: int, last: int) -> int:
    """The end of a part that begins with row `first`."""
    last = min(last, first + UNWIND_ROWS)
    while True:
        rules = len(set(numbers[first:last]))
        room = (UNWIND_DATA - 8 * rules) // 3 if rules <= MAX_UNWIND_RULES else MAX_UNWIND_RULES
        if last - first <= room:
            return last
        last = first + room


def _made(rows: _Rows, plan: _Plan) -> Iterator[tuple[int, bytes]]:
    mask = (1 << plan.page_shift) - 1
    starts = array("H", [offset & mask for offset in rows.offsets])
    encoded = [_encoded(rule) for rule in rows.rules]
    for number, cuts in plan.pages:
        key = number << UNWIND_PART_BITS
        if not cuts:
            unsupported = array("H", [UNSUPPORTED_ID])
            yield key, _chunk(array("H", [0]), unsupported, encoded, [])
            continue
        for part in range(len(cuts) - 1):
            first, last = cuts[part : part + 2]
            own = starts[first:last]
            if part == 0:
                own[0] = 0
            others = [starts[cut] for cut in cuts[1:-1]] if part == 0 else []
            yield key | part, _chunk(own, rows.numbers[first:last], encoded, others)


def _chunk(
    starts: array[int], numbers: array[int], encoded: list[bytes], parts: list[int]
) -> bytes:
    used = sorted(set(numbers))
    places = {number: place for place, number in enumerate(used)}
    head = _HEAD.pack(len(starts), *parts, *[0] * (UNWIND_PARTS - 1 - len(parts)))
    front = starts.tobytes() + bytes(map(places.__getitem__, numbers))
    rules = b"".join(encoded[number] for number in reversed(used))
    return head + front.ljust(UNWIND_DATA - len(rules), b"\0") + rules


def _encoded(rule: Rule) -> bytes:
    """UNSUPPORTED for a frame offset of more than 16 bits."""
    try:
        return _RULE.pack(rule.cfa, rule.frame, rule.frame_offset, rule.offset)
    except struct.error:
        return _RULE.pack(UNSUPPORTED.cfa, UNSUPPORTED.frame, 0, 0)
