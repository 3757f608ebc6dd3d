# SPDX-License-Identifier: Apache-2.0
"""From functions with rows to one sorted, short list of rows. One pass, one function."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

from collector.unwind.frames import Frames
from collector.unwind.rows import BOTTOM_ID, END_ID, IdRow

LONGEST_CLONE = 32
"""Bytes; on x86-64 there are 10."""

Ranges = Sequence[tuple[int, int]]
"""Address and end, ascending and apart from one another."""

NumberedPatch = tuple[int, int, int]
"""Address, end and the number of a rule."""


def reachable(frames: Frames, code: Ranges) -> list[int]:
    """Indices of functions that begin where a pc can be.

    Expects `code` ascending and apart. Linkers leave behind functions that they dropped, at
    address 0.
    """
    lows = [low for low, _ in code]
    ends = [0, *(end for _, end in code)]
    return [i for i, at in enumerate(frames.starts) if at < ends[bisect_right(lows, at)]]


def ordered(frames: Frames, indices: list[int]) -> list[int]:
    """Ascending by address; of functions at one address the last in the file.

    Expects nothing of the order.
    """
    last = {frames.starts[index]: index for index in indices}
    return [last[start] for start in sorted(last)]


def expanded(frames: Frames, order: Sequence[int], alignment: int) -> Iterator[IdRow]:
    """The rows of all functions, with an end marker behind each that is followed by a gap.

    Expects `order` ascending by address, without equals. A function ends where the next one
    begins, whatever it says: of two that overlap the later one holds.
    """
    starts, sizes, steps, numbers = frames.starts, frames.sizes, frames.steps, frames.numbers
    for place, index in enumerate(order):
        start = starts[index]
        end = start + sizes[index]
        following = starts[order[place + 1]] if place + 1 < len(order) else end + alignment
        limit = min(end, following) - start
        for row in frames.rows_of(index):
            if steps[row] >= limit:
                break
            yield start + steps[row], numbers[row]
        if following > end and not _padding(end, following, alignment):
            yield end, END_ID


def replaced(rows: Iterable[IdRow], numbers: Mapping[int, int]) -> Iterator[IdRow]:
    """The rows with other rules for those in `numbers`."""
    return ((address, numbers.get(number, number)) for address, number in rows)


def patched(rows: Iterable[IdRow], patches: Sequence[NumberedPatch]) -> Iterator[IdRow]:
    """The rows with those of each patch in place of what was there.

    Expects rows ascending, and patches ascending that do not overlap.
    """
    rows = iter(rows)
    row = next(rows, None)
    below = END_ID
    for start, end, number in patches:
        while row is not None and row[0] < start:
            below = row[1]
            yield row
            row = next(rows, None)
        yield start, number
        while row is not None and row[0] <= end:
            below = row[1]
            if row[0] == end:
                break
            row = next(rows, None)
        if row is None or row[0] != end:
            yield end, below
    while row is not None:
        yield row
        row = next(rows, None)


def gaps(rows: Iterable[IdRow], end: int) -> Iterator[tuple[int, int]]:
    """The parts of [0, end) where no function is.

    Expects rows ascending, all below `end`; before the first there is no function.
    """
    position, number = 0, END_ID
    for address, following in rows:
        if number == END_ID and position < address:
            yield position, address
        position, number = address, following
    if number == END_ID and position < end:
        yield position, end


def clones(rows: Iterable[IdRow], entry: int, alignment: int) -> Iterator[tuple[int, int]]:
    """Address and end of gaps in which a system call makes a thread.

    glibc's clone and clone3 say nothing from there on, for parent and child, until the child goes
    on as a bottom. What precedes has the rule `entry`, as functions have it when they are entered.
    Expects rows merged.
    """
    before = at = 0
    rule = END_ID
    for address, number in rows:
        found = (before, rule, number) == (entry, END_ID, BOTTOM_ID)
        if found and address - at <= LONGEST_CLONE and address % alignment:
            yield at, address
        before, rule, at = rule, number, address


def common(ranges: Iterable[tuple[int, int]], others: Ranges) -> Iterator[tuple[int, int]]:
    """What lies in a range of both kinds. Expects both ascending and apart."""
    place = 0
    for low, high in ranges:
        while place < len(others) and others[place][1] <= low:
            place += 1
        for other, end in others[place:]:
            if other >= high:
                break
            yield max(low, other), min(high, end)


def merged(rows: Iterable[IdRow]) -> Iterator[IdRow]:
    """Without rows that say what the one before says, and without those that say it nowhere.

    Expects rows ascending; of several at one address the last holds.
    """
    number = END_ID
    held: IdRow | None = None
    for row in rows:
        if held is not None and held[0] != row[0] and held[1] != number:
            yield held
            number = held[1]
        held = row
    if held is not None and held[1] != number:
        yield held


def _padding(end: int, following: int, alignment: int) -> bool:
    """Whether only filling lies between: no pc is ever there."""
    return following - end < alignment and following % alignment == 0
