# SPDX-License-Identifier: Apache-2.0
"""An executable that cannot be opened, as far as its process has it in memory.

    header page -> the ELF worker says what it wants to see -> that, until it wants no more

The result is a memfd with the file's bytes at their places and holes elsewhere, for the worker to
read like the file. What the worker asks for is only a wish: this side bounds how much, the kernel
decides over each page.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator, Sequence

from collector.feed.memory import MOST_BYTES, MemoryDeniedError, ProcessMemory
from collector.model import Mapping, ProcessId
from collector.symbolize.extents import Extent, Range

MOST_ROUNDS = 8
MOST_EXTENTS = 63
"""Beside the header page."""

MOST_IMAGE = 64 << 20
MOST_FILE = 1 << 33
"""Bytes of a file; only what is read of it takes memory."""

_ADDRESS_LIMIT = 1 << 63
_PAGE = 4096
_SHIFTS = 4
_SECTION_FIELDS = ((0x28, 8), (0x3C, 4))
"""Place and size of e_shoff, and of e_shnum with e_shstrndx, in a header of 64 bits."""

_FLAGS = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
_NOEXEC_SEAL = 8
"""MFD_NOEXEC_SEAL, linux 6.3."""

_FUTURE_WRITE = 0x10
"""F_SEAL_FUTURE_WRITE, linux 5.1: nobody writes but through the mapping that is there already."""

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _FUTURE_WRITE | fcntl.F_SEAL_SEAL

_NOT_HERE = frozenset(
    {"unmapped", "anonymous", "other_file", "writable", "shared", "special", "private", "outside",
     "not_elf", "unreadable"}
)  # fmt: skip
"""Denials of one address; the others are of the process, or of everybody."""

Plan = Callable[[int, int, list[Range]], Sequence[Extent]]
"""ElfClient.plan: descriptor, file offset of the mapping, what is present."""


def image(
    memory: ProcessMemory, process: ProcessId, mappings: Sequence[Mapping], plan: Plan
) -> int:
    """Descriptor of the image, which whoever gets it can only read; the caller closes it.

    `mappings` are those of one file, executable, ascending. Like a file without section headers.
    Raises MemoryDeniedError, and what `plan` raises.
    """
    return _Image(memory, process, mappings[0]).fill(plan)


class _Image:
    def __init__(self, memory: ProcessMemory, process: ProcessId, mapping: Mapping) -> None:
        self._memory, self._process, self._mapping = memory, process, mapping
        self._size = mapping.file_size
        self._left = MOST_IMAGE
        if not 0 < self._size <= MOST_FILE:
            raise MemoryDeniedError("length")
        self._header, self._page = self._find_header()

    def fill(self, plan: Plan) -> int:
        fd = _memfd()
        try:
            os.ftruncate(fd, self._size)
            with mmap.mmap(fd, self._size) as contents:
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
                self._copy_parts(contents, lambda present: plan(fd, self._mapping.offset, present))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _copy_parts(
        self, contents: mmap.mmap, plan: Callable[[list[Range]], Sequence[Extent]]
    ) -> None:
        contents[: len(self._page)] = _without_sections(self._page)
        present, asked = [(0, len(self._page))], set[Extent]()
        for _ in range(MOST_ROUNDS):
            wanted = [extent for extent in plan(present) if extent not in asked]
            if not wanted:
                return
            for extent in wanted[: MOST_EXTENTS - len(asked)]:
                asked.add(extent)
                if self._copy(contents, extent):
                    present.append((extent.offset, extent.size))

    def _copy(self, contents: mmap.mmap, extent: Extent) -> bool:
        """Whether all of it could be had."""
        if extent.size > self._left or extent.offset + extent.size > self._size:
            return False
        self._left -= extent.size
        try:
            for offset, data in self._read(extent):
                contents[offset : offset + len(data)] = data
        except MemoryDeniedError as error:
            if error.denial not in _NOT_HERE:
                raise
            return False
        return True

    def _read(self, extent: Extent) -> Iterator[tuple[int, bytes]]:
        """By page, as mappings are cut; file offset and bytes of each."""
        address, done = self._mapping.start + extent.distance, 0
        if not 0 <= address <= _ADDRESS_LIMIT - extent.size:
            raise MemoryDeniedError("unmapped")
        while done < extent.size:
            size = min(MOST_BYTES - (address + done) % MOST_BYTES, extent.size - done)
            yield extent.offset + done, self._ask(self._header, address + done, size)
            done += size

    def _ask(self, header: int, address: int, size: int) -> bytes:
        return self._memory.read(self._process, self._mapping.start, header, address, size)

    def _find_header(self) -> tuple[int, bytes]:
        """Address of the file's first byte, and the first page.

        The kernel shows executable mappings only, and the program headers, which tell, are what
        is looked for. Nearly always memory follows the file from its first byte on; lld moves
        each segment one page further up than the one before.
        """
        denied = MemoryDeniedError("not_elf")
        for shift in range(_SHIFTS):
            address = self._mapping.start - self._mapping.offset - shift * _PAGE
            try:
                if address >= 0:
                    return address, self._ask(address, address, min(_PAGE, self._size))
            except MemoryDeniedError as error:
                if error.denial not in _NOT_HERE:
                    raise
                denied = error
        raise denied


def _without_sections(page: bytes) -> bytes:
    """The header of a file without section headers: they are not mapped, or only some of them."""
    changed = bytearray(page)
    for place, size in _SECTION_FIELDS:
        changed[place : place + size] = bytes(len(changed[place : place + size]))
    return bytes(changed)


def _memfd() -> int:
    try:
        return os.memfd_create("image", _FLAGS | _NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.memfd_create("image", _FLAGS)
