# SPDX-License-Identifier: Apache-2.0
"""Unwind tables on disk, by what they were made of. Bounded in bytes; what was not used for
longest goes first. Nothing raises: a table that cannot be kept or read is made again.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from collector.feed import stored
from collector.spool import files
from collector.spool.errors import SpoolError
from collector.spool.index import size_on_disk
from collector.symbolize.tables import UnwindTable

NOTE_USE_SECONDS = 86_400.0
"""A file's mtime says when it was used, to the day: it is written again when it is that old. No
other system call is needed for that."""

MODE = 0o600
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME = re.compile(r"[0-9a-f]{32}\.table\Z", re.ASCII)


@dataclass(slots=True)
class CacheCounters:
    """The field names are the counters' names. damaged and outdated files are misses, too, and
    deleted."""

    hits: int = 0
    misses: int = 0
    stored: int = 0
    evicted: int = 0
    damaged: int = 0
    outdated: int = 0
    refused_full: int = 0
    errors: int = 0


@dataclass(slots=True)
class _Entry:
    size: int
    used: float


class Cache:
    """The only writer of its directory; without one, every question is a miss. For one thread.

    max_bytes bounds what the files take on disk; min_free_bytes of the file system, or a
    twentieth of it if that is less, is left to others. clock is Unix time in seconds.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        max_bytes: int,
        min_free_bytes: int,
        reader: bytes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counters = CacheCounters()
        self.size = 0
        self._max_bytes = max_bytes
        self._min_free = min_free_bytes
        self._reader = reader
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._directory: int | None = None
        if path is not None:
            try:
                self._directory = files.open_directory(path)
                self._scan(self._directory)
            except (SpoolError, OSError):
                self.counters.errors += 1

    @property
    def usable(self) -> bool:
        """Whether there is a directory."""
        return self._directory is not None

    @property
    def max_bytes(self) -> int:
        return self._max_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> UnwindTable | None:
        """The table that was made of `key`."""
        name = _name(key)
        table = None
        if self._directory is not None and name in self._entries:
            table = self._read(self._directory, name, key)
        if table is None:
            self.counters.misses += 1
        else:
            self.counters.hits += 1
        return table

    def put(self, key: bytes, table: UnwindTable) -> None:
        if self._directory is None:
            return
        try:
            self._put(self._directory, _name(key), stored.pack(key, self._reader, table))
        except stored.StoredError:
            self.counters.refused_full += 1
        except OSError:
            self.counters.errors += 1

    # --- reading ------------------------------------------------------------------------------

    def _read(self, directory: int, name: str, key: bytes) -> UnwindTable | None:
        try:
            data = files.read(directory, name, stored.MAX_FILE)
            table = stored.unpack(key, self._reader, data)
        except (SpoolError, OSError):
            self.counters.errors += 1
            self._delete(directory, name)
            return None
        except stored.OtherReaderError:
            self.counters.outdated += 1
            self._delete(directory, name)
            return None
        except stored.StoredError:
            self.counters.damaged += 1
            self._delete(directory, name)
            return None
        self._entries.move_to_end(name)
        if self._clock() - self._entries[name].used > NOTE_USE_SECONDS:
            with contextlib.suppress(OSError):
                self._put(directory, name, data)
        return table

    def _scan(self, directory: int) -> None:
        """Takes over what is there, the longest unused first."""
        found = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if _NAME.match(entry.name):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, entry.name, status.st_size))
                elif files.is_temporary(entry.name):
                    files.remove(directory, entry.name)
        for used, name, size in sorted(found):
            self._note(name, size, used)
        self._make_room(directory, 0)

    # --- writing ------------------------------------------------------------------------------

    def _put(self, directory: int, name: str, data: bytes) -> None:
        """A torn file fails its checksum, so nothing waits for the disk."""
        size = size_on_disk(len(data))
        if not self._make_room(directory, size):
            self.counters.refused_full += 1
            return
        temporary = f".{name}.tmp"
        files.remove(directory, temporary)
        fd = os.open(temporary, _WRITE, MODE, dir_fd=directory)
        try:
            with os.fdopen(fd, "wb", buffering=0) as file:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            files.remove(directory, temporary)
            raise
        self._note(name, len(data), self._clock())
        self.counters.stored += 1

    def _make_room(self, directory: int, wanted: int) -> bool:
        """Deletes what was not used for longest, until `wanted` bytes more may be taken."""
        if wanted > self._max_bytes:
            return False
        while self.size + wanted > self._max_bytes or self._free(directory) < wanted:
            if not self._entries:
                return False
            self._delete(directory, next(iter(self._entries)))
            self.counters.evicted += 1
        return True

    def _free(self, directory: int) -> int:
        status = os.fstatvfs(directory)
        total = status.f_blocks * status.f_frsize
        return status.f_bavail * status.f_frsize - min(self._min_free, total // 20)

    def _note(self, name: str, length: int, used: float) -> None:
        before = self._entries.pop(name, None)
        self.size += size_on_disk(length) - (before.size if before else 0)
        self._entries[name] = _Entry(size_on_disk(length), used)

    def _delete(self, directory: int, name: str) -> None:
        self.size -= self._entries.pop(name).size
        try:
            files.remove(directory, name)
        except OSError:
            self.counters.errors += 1


def _name(key: bytes) -> str:
    return f"{key.hex()}.table"
