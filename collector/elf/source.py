# SPDX-License-Identifier: Apache-2.0
"""Bounded reading of one executable, and the one exception of its parsers."""

from __future__ import annotations

import os
from collections.abc import Callable


class ElfError(Exception):
    """The file is not an ELF executable that can be described; the text says why."""


class Source:
    """The bytes of a file by position: `read_at(offset, size)` gives exactly that, or ElfError."""

    def __init__(self, size: int, pread: Callable[[int, int], bytes]) -> None:
        self.size = size
        self._pread = pread

    @classmethod
    def of_descriptor(cls, fd: int) -> Source:
        """A file that may change or shrink while it is read; it is never mapped."""

        def pread(offset: int, size: int) -> bytes:
            try:
                return os.pread(fd, size, offset)
            except OSError as error:
                raise ElfError(f"read: {error.strerror}") from error

        return cls(os.fstat(fd).st_size, pread)

    @classmethod
    def of_bytes(cls, data: bytes) -> Source:
        return cls(len(data), lambda offset, size: data[offset : offset + size])

    def read_at(self, offset: int, size: int) -> bytes:
        """Raises ElfError when the range does not lie within the file."""
        if size < 0 or offset < 0 or offset + size > self.size:
            raise ElfError("a header points outside the file")
        data = self._pread(offset, size)
        if len(data) != size:
            raise ElfError("the file shrank while it was read")
        return data


class BudgetedStream:
    """What pyelftools sees of a source: a stream that gives up after so much reading.

    The budget bounds the time of any loop in a parser that is no security boundary: each of
    its rounds reads. 131,072 reads describe 4,096 sections, 8 MiB hold their headers many times.
    """

    max_reads = 131_072
    max_bytes = 8 * 1024 * 1024

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0
        self._reads = self.max_reads
        self._bytes = self.max_bytes

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, less at the end. Raises ElfError when the budget is spent."""
        self._reads -= 1
        self._bytes -= max(size, 0)
        if size < 0 or self._reads < 0 or self._bytes < 0:
            raise ElfError("the headers ask for too much reading")
        size = max(0, min(size, self._source.size - self._position))
        data = self._source.read_at(self._position, size)
        self._position += size
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As io.IOBase.seek; a negative position is an ElfError."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._source.size}
        position = base[whence] + offset
        if position < 0:
            raise ElfError("a header points outside the file")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        """Nothing is held."""
