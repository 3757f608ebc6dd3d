# SPDX-License-Identifier: Apache-2.0
"""Elements of the three maps of unwind tables, as bpf/abi.h lays them out."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from libbpf import abi

CHUNK_BYTES = 4096
"""What one chunk takes of the kernel's memory: the element and its header fill a slab object."""

ID_SIZE = 16
_SLOT = struct.Struct(f"=IIQ{ID_SIZE}s4I")
_KEY = struct.Struct("=II")
_FILE = struct.Struct("=Q")
_U32 = struct.Struct("=I")
_SLOT_MASK = (1 << abi.EXECUTABLE_BITS) - 1
MAX_VERSION = (1 << 32 - abi.EXECUTABLE_BITS) - 1


@dataclass(frozen=True, slots=True)
class Slot:
    """struct executable. table is 0 while the slot is free; last_used in seconds, monotonic."""

    table: int = 0
    page_shift: int = 0
    last_used: int = 0
    id: bytes = bytes(ID_SIZE)
    chunks: int = 0
    rows: int = 0
    version: int = 0

    def pack(self) -> bytes:
        return _SLOT.pack(
            self.table, self.page_shift, self.last_used, self.id,
            self.chunks, self.rows, self.version, 0,
        )  # fmt: skip


def slot(value: bytes) -> Slot:
    table, page_shift, last_used, identity, chunks, rows, version, _ = _SLOT.unpack(value)
    return Slot(table, page_shift, last_used, identity, chunks, rows, version)


def last_used(value: bytes) -> int:
    used: int = _SLOT.unpack(value)[2]
    return used


def table_number(version: int, place: int) -> int:
    """Never 0, for versions begin with 1."""
    return version << abi.EXECUTABLE_BITS | place


def place_of(table: int) -> int:
    """The slot of a table's number."""
    return table & _SLOT_MASK


def slot_key(place: int) -> bytes:
    return _U32.pack(place)


def chunk_key(table: int, page: int) -> bytes:
    return _KEY.pack(table, page)


def chunk_key_of(raw: bytes) -> tuple[int, int]:
    table, page = _KEY.unpack(raw)
    return table, page


def file_key(file: int) -> bytes:
    return _FILE.pack(file)


def file_key_of(raw: bytes) -> int:
    file: int = _FILE.unpack(raw)[0]
    return file


def number(table: int) -> bytes:
    """A value of file_tables."""
    return _U32.pack(table)


def number_of(raw: bytes) -> int:
    table: int = _U32.unpack(raw)[0]
    return table
