# SPDX-License-Identifier: Apache-2.0
"""The collector's end of the spool: adds windows, deletes the oldest, never rewrites one."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from collector.spool import cursor, files, recover
from collector.spool.counters import SpoolCounters
from collector.spool.errors import SpoolError, SpoolFullError
from collector.spool.format import (
    HEADER_SIZE,
    MAX_NUMBER,
    Header,
    name_of,
    number_of,
    pack,
    unpack_header,
)
from collector.spool.index import Entry, Index, size_on_disk

# So many windows go by between two writes of the reservation.
_RESERVE = 1024

# A broken shipper's cursor must not use up the numbers.
_MAX_FROM_CURSOR = MAX_NUMBER // 2

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def boot_clock() -> float:
    """Seconds since boot, sleep included: ages by it survive every change of the date."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Spool:
    """An open spool, the only writer of its directory.

    max_bytes bounds what the windows take on disk and max_age_seconds how long they stay;
    min_free_bytes of the file system, or a twentieth of it if that is less, is left to
    others. The newest window stays whatever the limits say: last_window() needs it.
    ship_dir holds the shipper's cursors, for the counters only, since what is settled is
    also what is oldest. Raises SpoolError if the directory cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        max_age_seconds: float,
        min_free_bytes: int,
        ship_dir: Path | None = None,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self.counters = SpoolCounters()
        self._max_bytes = max_bytes
        self._max_age = max_age_seconds
        self._min_free = min_free_bytes
        self._ship_dir = ship_dir
        self._clock = clock
        self._directory = files.open_directory(path)
        try:
            self._index = self._recover()
        except OSError as error:
            raise SpoolError(f"{path}: {error.strerror}") from error

    def _recover(self) -> Index:
        index = recover.scan(self._directory, self._clock(), self.counters)
        self._last = recover.newest_header(self._directory, index, self.counters)
        self._reserved = recover.reserved_number(self._directory)
        newest = index.newest.number if index.newest else 0
        self._next = 1 + max(newest, self._reserved, self._number_of_cursors())
        return index

    def close(self) -> None:
        os.close(self._directory)

    @property
    def windows(self) -> int:
        """How many windows are held."""
        return len(self._index)

    @property
    def size(self) -> int:
        """Bytes they take on disk."""
        return self._index.size

    @property
    def oldest_age_seconds(self) -> float:
        """Age of the oldest window, 0 when there is none."""
        oldest = self._index.oldest
        return max(0.0, self._clock() - oldest.born) if oldest else 0.0

    @property
    def last_header(self) -> Header | None:
        """Header of the newest window, None when there is none."""
        return self._last

    def last_window(self) -> tuple[int, int] | None:
        """(generation, sequence) of the newest window: what was written before a crash."""
        return (self._last.generation, self._last.sequence) if self._last else None

    def write(self, header: Header, payload: bytes) -> str:
        """Adds a window, durable when this returns; returns its name.

        Raises SpoolFullError when eviction does not make enough room, SpoolError when the
        disk fails; either way nothing of it stays and the counters say so.
        """
        try:
            return self._write(header, payload)
        except SpoolFullError:
            self.counters.refused_full += 1
            raise
        except (SpoolError, OSError) as error:
            self.counters.refused_error += 1
            raise SpoolError(f"cannot write a window: {error}") from error

    def _write(self, header: Header, payload: bytes) -> str:
        data = pack(header, payload)
        size = size_on_disk(len(data))
        self._make_room(size)
        number = self._take_number()
        try:
            self._store(name_of(number), data)
        except BaseException:
            self._take_back(name_of(number))
            raise
        self._index.add(Entry(number, size, self._clock()))
        self._last = header
        self.counters.written += 1
        self.counters.written_bytes += len(data)
        self.counters.written_samples += header.samples
        with contextlib.suppress(OSError):  # this window is kept; the next one will meet it again
            self.evict()
        return name_of(number)

    def _make_room(self, size: int) -> None:
        if size > self._max_bytes:
            raise SpoolFullError(f"a window of {size} bytes, the quota is {self._max_bytes}")
        self.evict(size)
        if self._free() < size:
            raise SpoolFullError("the file system is fuller than the spool may make it")

    def _store(self, name: str, data: bytes) -> None:
        """Writes; if the disk is full all the same, evicts as much and tries once more."""
        try:
            files.write(self._directory, name, data)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            if not self._evict_bytes(2 * size_on_disk(len(data))):
                raise SpoolFullError(f"{name}: {error.strerror}") from error
            self._store_again(name, data)

    def _take_back(self, name: str) -> None:
        """A window that may not be durable is counted as refused, so it must not stay."""
        with contextlib.suppress(OSError):
            files.remove(self._directory, name)

    def _store_again(self, name: str, data: bytes) -> None:
        try:
            files.write(self._directory, name, data)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise SpoolFullError(f"{name}: {error.strerror}") from error
            raise

    def _take_number(self) -> int:
        """A number above all that this directory has seen, even if it was emptied since."""
        number = self._next
        if number >= MAX_NUMBER:
            raise SpoolError("spool numbers are used up")
        if number > self._reserved:
            reserved = number + _RESERVE
            files.write(self._directory, recover.RESERVED, b"%d\n" % reserved)
            self._reserved = reserved
        self._next += 1
        return number

    def evict(self, wanted: int = 0) -> None:
        """Deletes the oldest windows beyond age, quota and free space, but never the newest.

        wanted is how many bytes are about to be added. Raises OSError.
        """
        while (oldest := self._index.oldest) and len(self._index) > 1:
            fresh = self._clock() - oldest.born <= self._max_age
            if fresh and self._index.size + wanted <= self._max_bytes and self._free() >= wanted:
                return
            self._evict_oldest()

    def _evict_bytes(self, wanted: int) -> bool:
        before = self._index.size
        while len(self._index) > 1 and before - self._index.size < wanted:
            self._evict_oldest()
        return self._index.size < before

    def _free(self) -> int:
        """Bytes the spool may still take of the file system; negative when it is too full."""
        status = os.fstatvfs(self._directory)
        total = status.f_blocks * status.f_frsize
        return status.f_bavail * status.f_frsize - min(self._min_free, total // 20)

    def _evict_oldest(self) -> None:
        name = name_of(self._index.drop_oldest().number)
        if name <= self._settled():
            self.counters.evicted_acknowledged += 1
        else:
            self.counters.evicted_unacknowledged += 1
            self.counters.evicted_unacknowledged_samples += self._samples(name)
        files.remove(self._directory, name)

    def _samples(self, name: str) -> int:
        try:
            data = files.read_beginning(self._directory, name, HEADER_SIZE)
            return unpack_header(data).header.samples
        except (SpoolError, FileNotFoundError):
            return 0

    def _settled(self) -> str:
        return cursor.read_all(self._ship_dir).settled() if self._ship_dir else ""

    def _number_of_cursors(self) -> int:
        name = cursor.read_all(self._ship_dir).highest() if self._ship_dir else ""
        number = number_of(name) or 0
        return number if number <= _MAX_FROM_CURSOR else 0
