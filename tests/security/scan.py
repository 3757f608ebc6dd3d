# SPDX-License-Identifier: Apache-2.0
"""Looking for words in bytes of any kind: binary, protobuf, text."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

KERNEL_HALF = range(0xFFFF800000000000, 0xFFFFFFFFFFFFF000)
"""What is above are error numbers."""
PART = 6
"""So many bytes of a secret in a row are no accident."""
_NUMBER = re.compile(
    rb"(?<![0-9A-Za-z])(?:0x)?([0-9A-Fa-f]{6,16})(?![0-9A-Za-z])"
    rb"|(?<![0-9A-Za-z_-])(-?[0-9]{6,20})(?![0-9A-Za-z])"
)
_LONG_VARINT = re.compile(rb"[\x80-\xff]{4,9}[\x00-\x7f]")


def contains(data: bytes, secret: bytes) -> bool:
    """Is any part of the secret in data: as bytes in either order, as varint, as text?"""
    for order in (secret, secret[::-1], *(word[::-1] for word in words(secret))):
        if any(order[i : i + PART] in data for i in range(len(order) - PART + 1)):
            return True
    wanted = {
        int.from_bytes(word, order) + change
        for word in words(secret)
        for order in ("little", "big")
        for change in (-1, 0, 1)
    }
    return not wanted.isdisjoint(varints(data)) or not wanted.isdisjoint(numbers(data))


def words(secret: bytes) -> list[bytes]:
    return [secret[i : i + 8] for i in range(0, len(secret), 8)]


def varints(data: bytes) -> Iterator[int]:
    """What a protobuf reader could take for a number of 28 bits or more, at any offset."""
    for match in _LONG_VARINT.finditer(data):
        raw = match[0]
        for start in range(len(raw) - 4):
            value = 0
            for place, byte in enumerate(raw[start:]):
                value |= (byte & 0x7F) << 7 * place
            yield value & (1 << 64) - 1


def numbers(data: bytes) -> Iterator[int]:
    """Numbers of six digits and more in text, hexadecimal and decimal; negative ones as 64 bits."""
    for match in _NUMBER.finditer(data):
        if match[1]:
            yield int(match[1], 16)
            if match[1].isdigit():
                yield int(match[1])
        else:
            yield int(match[2]) & (1 << 64) - 1


def aligned(data: bytes) -> Iterator[int]:
    """The 64-bit words of a C struct."""
    for (word,) in struct.iter_unpack("=Q", data[: len(data) & ~7]):
        yield word


def kernel_ranges() -> list[range]:
    """Where this kernel's text and its modules' lie, from /proc/kallsyms as root reads it."""
    core: list[int] = []
    modules: list[int] = []
    for line in Path("/proc/kallsyms").read_text().splitlines():
        address, kind, name, *module = line.split()
        if kind in "tTwW":
            (modules if module else core).append(int(address, 16))
        if name == "_text" and not module:
            start = int(address, 16)
    if not start:
        raise ValueError("/proc/kallsyms shows no addresses")
    page = 4096  # of the last function
    found = [range(start, max(core) + page)]
    return [*found, range(min(modules), max(modules) + page)] if modules else found


def executable_ranges() -> list[range]:
    """Executable mappings of all live processes that lie where the kernel randomizes them."""
    found = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            lines = maps.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            addresses, access, *_ = line.split()
            start, end = (int(part, 16) for part in addresses.split("-"))
            if "x" in access and 1 << 40 < start < 1 << 57:
                found.add(range(start, end))
    return list(found)


def hits(values: Iterator[int], ranges: list[range]) -> list[str]:
    return sorted({hex(value) for value in values if any(value in one for one in ranges)})
