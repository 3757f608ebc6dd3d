# SPDX-License-Identifier: Apache-2.0
"""LEB128 numbers of up to ten bytes, as DWARF has them (DWARF 5 §7.6)."""

from __future__ import annotations

from collector.elf.source import ElfError

_LONGEST = 10


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number and the place behind it. Raises IndexError at the end, or ElfError."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift, first = 0, 0, at
    while byte >= 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if at - first == _LONGEST:
            raise ElfError("a number of more than ten bytes")
        byte = data[at]
    return value | byte << shift, at + 1


def sleb(data: bytes, at: int) -> tuple[int, int]:
    """A signed number and the place behind it. Raises IndexError at the end, or ElfError."""
    value, behind = uleb(data, at)
    bits = 7 * (behind - at)
    return (value - (1 << bits) if data[behind - 1] & 0x40 else value), behind
