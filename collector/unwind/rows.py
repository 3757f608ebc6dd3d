# SPDX-License-Identifier: Apache-2.0
"""Unwind rows: from this address on, the caller's registers are found so.

Nothing here knows an architecture. A table of half a million rows is two flat arrays and a
short list of rules: rows of one executable share few of them.
"""

from __future__ import annotations

import enum
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_RULES = 1 << 16
"""Rules of one executable, so that a row names its rule in 16 bits. libc has about 300."""

MAX_ROWS = 1 << 22
"""Rows of one executable: 40 MiB here. node has 0.28 million."""

OFFSET_LIMIT = 1 << 31
"""Offsets of a rule are signed 32-bit numbers."""


class Cfa(enum.IntEnum):
    """How the canonical frame address, the caller's stack pointer, is found."""

    END = 0
    """No function here: the end of one before a gap."""
    BOTTOM = 1
    """The return address is undefined: the stack is complete with this frame."""
    STACK = 2
    """Stack pointer + offset."""
    FRAME = 3
    """Frame pointer + offset."""
    PLT = 4
    """A stub of 16 bytes that pushes before byte `offset`; the architecture says what it means."""
    SIGNAL = 5
    """The kernel's signal frame; the architecture says where it keeps registers."""
    UNSUPPORTED = 6
    """The file says something that no other kind expresses."""
    STACK_LOADED = 7
    """The word at stack pointer + n, and m more; `offset` holds both, see loaded()."""
    FRAME_LOADED = 8
    """The word at frame pointer + n, and m more."""
    CLONED = 9
    """As a function is entered; but what has just been made, with 0 for an answer, is complete."""
    SWITCHED = 10
    """By frame pointer, from one stack of a thread to another, which may lie below."""
    REGISTER = 11
    """Register of the number n + m; `offset` holds both. Known of the leaf only."""


class Saved(enum.IntEnum):
    """How the caller's frame pointer is found."""

    SAME = 0
    """It is the present one."""
    AT = 1
    """In memory at the CFA + offset."""
    LOST = 2
    """It cannot be told."""
    AT_FRAME = 3
    """In memory at the present one + offset."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Offsets in bytes; `frame_offset` counts for Saved.AT and Saved.AT_FRAME only.

    The return address lies at the architecture's fixed distance from the CFA.
    """

    cfa: Cfa
    offset: int = 0
    frame: Saved = Saved.SAME
    frame_offset: int = 0


END = Rule(Cfa.END)
BOTTOM = Rule(Cfa.BOTTOM, frame=Saved.LOST)
SIGNAL = Rule(Cfa.SIGNAL, frame=Saved.LOST)
CLONED = Rule(Cfa.CLONED)
SWITCHED = Rule(Cfa.SWITCHED)
UNSUPPORTED = Rule(Cfa.UNSUPPORTED, frame=Saved.LOST)

END_ID, BOTTOM_ID, UNSUPPORTED_ID = range(3)
"""Numbers that these rules have in every table."""

_HALF = struct.Struct("<hh")
_WHOLE = struct.Struct("<i")


def loaded(kind: Cfa, place: int, added: int) -> Rule:
    """CFA = [register + place] + added; UNSUPPORTED where one of them has more than 16 bits.

    The rule's offset has `place` in its low half and `added` in its high half, both signed. Of
    Cfa.REGISTER `place` is the number of the register.
    """
    try:
        return Rule(kind, *_WHOLE.unpack(_HALF.pack(place, added)))
    except struct.error:
        return UNSUPPORTED


IdRow = tuple[int, int]
"""Virtual address and the number of a rule: what passes hand on."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, for readers of a table; tables do not hold these."""

    address: int
    rule: Rule


class Rules:
    """Numbers for rules, in order of first use. What does not fit in is UNSUPPORTED."""

    def __init__(self) -> None:
        self._numbers = {END: END_ID, BOTTOM: BOTTOM_ID, UNSUPPORTED: UNSUPPORTED_ID}

    def number(self, rule: Rule) -> int:
        """The number of a rule; UNSUPPORTED_ID for large offsets or one rule too many."""
        known = self._numbers.get(rule)
        if known is not None:
            return known
        largest = max(abs(rule.offset), abs(rule.frame_offset))
        if largest >= OFFSET_LIMIT or len(self._numbers) == MAX_RULES:
            return UNSUPPORTED_ID
        return self._numbers.setdefault(rule, len(self._numbers))

    def all(self) -> tuple[Rule, ...]:
        """By number."""
        return tuple(self._numbers)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows ascending by virtual address, no two alike; numbers[i] indexes `rules`.

    `refused` counts functions whose CFI could not be read; they have no rows.
    """

    addresses: array[int]
    numbers: array[int]
    rules: tuple[Rule, ...]
    refused: int = 0

    def __len__(self) -> int:
        return len(self.addresses)

    def __iter__(self) -> Iterator[Row]:
        for address, number in zip(self.addresses, self.numbers, strict=True):
            yield Row(address, self.rules[number])

    def rule_at(self, address: int) -> Rule:
        """END below the first row."""
        index = bisect_right(self.addresses, address) - 1
        return END if index < 0 else self.rules[self.numbers[index]]


def table_of(rows: Iterable[IdRow], rules: Rules, refused: int) -> Table:
    """Expects merged rows, not more than the passes before let through."""
    addresses, numbers = array("Q"), array("H")
    for address, number in rows:
        addresses.append(address)
        numbers.append(number)
    return Table(addresses, numbers, rules.all(), refused)
