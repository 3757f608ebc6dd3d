# SPDX-License-Identifier: Apache-2.0
"""Unwind tables as the ELF worker sends them, checked before anything is made of them.

What the rows say is not checked: the kernel side takes them for hostile, whoever wrote them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from collector.worker.wire import WireError
from libbpf import abi

BODY_SIZE = abi.size_of("unwind_chunk") - 2 * abi.size_of("unwind_key")
"""Bytes of a struct unwind_chunk between its keys."""

_KEY = struct.Struct("=I")
_HEAD = struct.Struct(f"={abi.UNWIND_PARTS}H")
_PAGE_SHIFTS = range(10, 17)
_MAX_COUNT = 1 << 32

Chunk = tuple[int, bytes]
"""Page << UNWIND_PART_BITS | part, and BODY_SIZE bytes."""


@dataclass(frozen=True, slots=True)
class UnwindTable:
    """Chunks ascending; part 0 of a page comes before its other parts, and names them.

    rows, left_out (pages that are unsupported or missing for want of space) and refused
    (functions that could not be read) are for counters.
    """

    page_shift: int
    rows: int
    left_out: int
    refused: int
    chunks: tuple[Chunk, ...]


def parse_table(answer: dict[str, Any], data: bytes) -> UnwindTable:
    """Any object and bytes give a table or WireError."""
    shift = _count(answer, "page_shift")
    if shift not in _PAGE_SHIFTS or len(data) % (_KEY.size + BODY_SIZE):
        raise WireError("no table of known layout")
    chunks = []
    for at in range(0, len(data), _KEY.size + BODY_SIZE):
        (key,) = _KEY.unpack_from(data, at)
        chunks.append((key, data[at + _KEY.size : at + _KEY.size + BODY_SIZE]))
    _check_order(chunks)
    rows, left_out, refused = (_count(answer, name) for name in ("rows", "left_out", "refused"))
    return UnwindTable(shift, rows, left_out, refused, tuple(chunks))


def _check_order(chunks: list[Chunk]) -> None:
    """Keys ascend, and the parts that a page's first chunk names are those that follow it."""
    previous, missing = -1, 0
    for key, body in chunks:
        rows, *parts = _HEAD.unpack_from(body)
        if not 0 < rows <= abi.UNWIND_ROWS:
            raise WireError(f"a chunk of {rows} rows")
        if missing:
            if key != previous + 1 or any(parts):
                raise WireError("a part of a page is missing")
            missing -= 1
        else:
            if key <= previous or key & (abi.UNWIND_PARTS - 1):
                raise WireError("chunks out of order")
            missing = _named(parts)
        previous = key
    if missing:
        raise WireError("a part of a page is missing")


def _named(parts: list[int]) -> int:
    """How many other parts a page has; their places ascend."""
    places = sorted({place for place in parts if place})
    if parts != places + [0] * (len(parts) - len(places)):
        raise WireError("parts out of order")
    return len(places)


def _count(answer: dict[str, Any], name: str) -> int:
    value = answer.get(name)
    if type(value) is not int or not 0 <= value < _MAX_COUNT:
        raise WireError(f"no {name}")
    return value
