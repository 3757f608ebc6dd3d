# SPDX-License-Identifier: Apache-2.0
"""Parts of a file that the ELF worker wants to see, checked before they are read."""

from __future__ import annotations

from typing import Any, NamedTuple

from collector.worker.wire import MAX_EXTENTS, WireError

_LIMIT = 1 << 63

Range = tuple[int, int]
"""File offset and size."""


class Extent(NamedTuple):
    """`distance` is that of its address from the start of the executable mapping."""

    offset: int
    distance: int
    size: int


def parse_extents(answer: dict[str, Any]) -> tuple[Extent, ...]:
    """Any object gives extents of 63-bit numbers, none of them empty, or WireError."""
    rows = answer.get("extents")
    if not isinstance(rows, list) or len(rows) > MAX_EXTENTS:
        raise WireError("no list of extents, or too many")
    return tuple(map(_extent, rows))


def _extent(row: object) -> Extent:
    if not isinstance(row, list) or len(row) != 3 or any(type(value) is not int for value in row):
        raise WireError("three numbers are expected")
    offset, distance, size = row
    if not (0 <= offset < _LIMIT and -_LIMIT < distance < _LIMIT and 0 < size < _LIMIT):
        raise WireError("an extent that cannot be")
    return Extent(offset, distance, size)
