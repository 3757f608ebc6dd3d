# SPDX-License-Identifier: Apache-2.0
"""The three maps as the kernel has them, told without the code under test."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from collector.read.pins import Pins
from libbpf import abi

BODY = abi.size_of("unwind_chunk") - 2 * abi.size_of("unwind_key")
SLOT = struct.Struct("=IIQ16s4I")


def identity(name: object) -> bytes:
    return hashlib.sha256(repr(name).encode()).digest()[:16]


def chunks(count: int, rows: int = 1) -> list[tuple[int, bytes]]:
    """So many pages of one part each."""
    return [
        (page << 3, struct.pack("=8H", rows, *bytes(7)).ljust(BODY, b"x")) for page in range(count)
    ]


def slots(pins: Pins) -> dict[int, tuple]:
    """Table -> the other fields of struct executable, of the slots in use."""
    values = (SLOT.unpack(value) for _, value in pins.maps["executables"].items(8192))
    return {value[0]: value[1:] for value in values if value[0]}


def keys(pins: Pins) -> dict[int, set[int]]:
    """Table -> its pages in unwind_chunks."""
    found: dict[int, set[int]] = {}
    for key in pins.maps["unwind_chunks"].all_keys():
        table, page = struct.unpack("=II", key)
        found.setdefault(table, set()).add(page)
    return found


def files(pins: Pins) -> dict[int, int]:
    items = pins.maps["file_tables"].items()
    return {struct.unpack("=Q", key)[0]: struct.unpack("=I", value)[0] for key, value in items}


def whole(pins: Pins) -> bool:
    """Nothing is half there: chunks, slots and files agree."""
    live = slots(pins)
    found = keys(pins)
    return (
        found.keys() == live.keys()
        and all(len(found[table]) == live[table][3] for table in live)
        and all(not table or table in live for table in files(pins).values())
    )


def use(pins: Pins, table: int, seconds: int) -> None:
    """Stamps a table as the unwinder does."""
    key = struct.pack("=I", table & 8191)
    fields = list(SLOT.unpack(pins.maps["executables"].lookup(key)))
    assert fields[0] == table
    fields[2] = seconds
    pins.maps["executables"].update(key, SLOT.pack(*fields))


def charged(pins: Pins, name: str) -> int:
    """Bytes of the kernel's memory that it says a map takes."""
    lines = Path(f"/proc/self/fdinfo/{pins.maps[name].fd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("memlock:"))


def empty(pins: Pins) -> None:
    for name in ("file_tables", "unwind_chunks"):
        pins.maps[name].remove(list(pins.maps[name].all_keys()))
    for slot in range(pins.maps["executables"].max_entries):
        pins.maps["executables"].update(struct.pack("=I", slot), bytes(SLOT.size))
