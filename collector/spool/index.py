# SPDX-License-Identifier: Apache-2.0
"""What a spool holds, oldest first, without asking the disk again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One window: its number, its size on disk in bytes, and when it came, in seconds."""

    number: int
    size: int
    born: float


def size_on_disk(length: int) -> int:
    """Bytes a file of `length` takes: whole blocks, so that many small windows count too."""
    return -(-length // _BLOCK) * _BLOCK


class Index:
    """Entries in rising order of their numbers."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self.size += entry.size

    def drop_oldest(self) -> Entry:
        return self._drop(self._entries.popleft())

    def drop_newest(self) -> Entry:
        return self._drop(self._entries.pop())

    def _drop(self, entry: Entry) -> Entry:
        self.size -= entry.size
        return entry

    @property
    def oldest(self) -> Entry | None:
        return self._entries[0] if self._entries else None

    @property
    def newest(self) -> Entry | None:
        return self._entries[-1] if self._entries else None
