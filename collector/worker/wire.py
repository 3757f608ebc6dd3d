# SPDX-License-Identifier: Apache-2.0
"""What goes over the ELF worker's socket, the same in both directions.

    4 bytes     big-endian length n of what follows, 0 < n <= MAX_MESSAGE
    n bytes     one JSON object in UTF-8

A request brings the executable as an SCM_RIGHTS descriptor beside its first byte.

    {"op": "describe"}                   -> {"build_id": hex, "build_id_type": "gnu" | "hash",
                                             "segments": [[offset, vaddr, filesz], ...]}
    {"op": "names", "addresses": [a, ..]} -> {"names": [[start, end, name | null], ...]}
    {"op": "unwind"}                     -> {"page_shift": 10..16, "rows": n, "left_out": pages,
                                             "refused": functions, "bytes": size}, and then
                                            `size` bytes that are no JSON
    {"op": "plan", "mapped": offset,     -> {"extents": [[offset, distance, size], ...]}
     "present": [[offset, size], ...]}
    each                                 -> {"error": why the file cannot be used}

An answer of names holds for its whole range [start, end); null says that no symbol covers it.
The bytes behind an answer of unwind are those of collector/unwind/chunks.py: for each chunk its key
(u32, ascending) and its struct unwind_chunk of bpf/abi.h without the keys. Integers in them are in
the byte order of this machine.

The file of a plan holds what is `present` of an executable, at its place; the answer says what else
is wanted of it, and how far in memory from the executable mapping that begins at file offset
`mapped`, which may be a negative number.
"""

from __future__ import annotations

import json
from typing import Any

MAX_MESSAGE = 1 << 20
MAX_ADDRESSES = 512
"""Of one request: as many names of the longest kind still fit into one answer."""

MAX_EXTENTS = 64
"""Of a plan, both wanted and present."""

MAX_TABLE = 64 << 20
"""Bytes behind an answer of unwind."""

HEADER_SIZE = 4


class WireError(Exception):
    """The other side does not speak this protocol."""


def encode(message: dict[str, Any]) -> bytes:
    """Length and JSON. Raises WireError when it would be larger than MAX_MESSAGE."""
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
    if len(body) > MAX_MESSAGE:
        raise WireError(f"a message of {len(body)} bytes")
    return len(body).to_bytes(HEADER_SIZE, "big") + body


def body_size(header: bytes) -> int:
    """The n of a whole header. Raises WireError when it is out of bounds."""
    size = int.from_bytes(header, "big")
    if not 0 < size <= MAX_MESSAGE:
        raise WireError(f"a message of {size} bytes")
    return size


def decode(body: bytes) -> dict[str, Any]:
    """Any bytes give an object or WireError."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise WireError("not an object")
    return message
