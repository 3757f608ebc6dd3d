# SPDX-License-Identifier: Apache-2.0
"""What is loaded in the kernel: unwind tables by executable, and which files they belong to.

A table becomes visible in one order: its chunks, its slot, its files; and goes in the opposite
one. So at whatever point this process is killed, what a slot names is whole, and what no slot
names can be taken away by the next one. A live key is never written again, and a table's number
never comes back while the maps live: whoever still remembers it finds nothing, not another table.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from collector.feed import layout
from collector.feed.layout import CHUNK_BYTES, MAX_VERSION, Slot
from collector.symbolize.tables import Chunk
from libbpf.errors import BpfError

HOT_SECONDS = 10
"""What was used so lately stays: what takes its place would be no hotter."""

FILES_AT_ONCE = 64
"""So many files are forgotten together, because finding out which ones costs a millisecond."""

_NO_ROOM = frozenset({errno.E2BIG, errno.ENOMEM, errno.ENOSPC})


class NoRoomError(Exception):
    """All that is loaded is in use; another time there may be room."""


class TooLargeError(Exception):
    """A table that no amount of room would hold."""


class FeedMap(Protocol):
    """What is used of libbpf.maps.Map."""

    @property
    def max_entries(self) -> int: ...
    def lookup(self, key: bytes) -> bytes | None: ...
    def update(self, key: bytes, value: bytes) -> None: ...
    def update_many(self, keys: list[bytes], values: list[bytes]) -> None: ...
    def remove(self, keys: list[bytes]) -> None: ...
    def all_keys(self) -> Iterator[bytes]: ...
    def items(self, batch: int = ...) -> Iterator[tuple[bytes, bytes]]: ...


@dataclass(slots=True)
class LoadedCounters:
    """The field names are the counters' names. kept and strays are of the start: tables found in
    the kernel, and chunks there that belonged to none."""

    loaded: int = 0
    evicted: int = 0
    files_evicted: int = 0
    no_room: int = 0
    too_large: int = 0
    kept: int = 0
    strays: int = 0


@dataclass(slots=True)
class _Table:
    number: int
    id: bytes
    rows: int
    pages: tuple[int, ...]
    files: set[int]


class Loaded:
    """The only writer of the maps. For one thread; numbers may be read from another.

    Raises BpfError where the kernel refuses what it should not.
    """

    def __init__(
        self,
        executables: FeedMap,
        files: FeedMap,
        chunks: FeedMap,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = LoadedCounters()
        self._executables = executables
        self._file_tables = files
        self._chunks = chunks
        self._clock = clock
        self._by_number: dict[int, _Table] = {}
        self._by_id: dict[bytes, int] = {}
        self._files: dict[int, int] = {}
        self._without: dict[int, None] = {}  # in the order in which they came
        self._versions = [0] * executables.max_entries
        self._free: deque[int] = deque()
        self.used = 0
        self.rows = 0
        self._recover()

    @property
    def limit(self) -> int:
        """Chunks there may be."""
        return self._chunks.max_entries

    @property
    def memory(self) -> int:
        """Bytes that the chunks take of the kernel's memory."""
        return self.used * CHUNK_BYTES

    @property
    def max_memory(self) -> int:
        return self.limit * CHUNK_BYTES

    @property
    def most_files(self) -> int:
        return self._file_tables.max_entries

    @property
    def tables(self) -> int:
        return len(self._by_number)

    @property
    def files(self) -> int:
        return len(self._files)

    def table_of(self, file: int) -> int | None:
        """Number of a file's table, 0 if it has none; None for a file not known here."""
        return self._files.get(file)

    def without(self) -> list[int]:
        """The files known to have no table."""
        return list(self._without)

    def find(self, identity: bytes) -> int | None:
        """Number of the table with this id, if it is loaded."""
        return self._by_id.get(identity)

    # --- what the feeder does -------------------------------------------------------------

    def load(self, identity: bytes, page_shift: int, rows: int, chunks: Iterable[Chunk]) -> int:
        """A new table, whole when this returns. Raises NoRoomError, TooLargeError."""
        pairs = list(chunks)
        if len(pairs) > self.limit:
            self.counters.too_large += 1
            raise TooLargeError
        self._make_room(len(pairs))
        place = self._free.popleft()
        version = self._versions[place] = self._versions[place] + 1
        table = layout.table_number(version, place)
        keys = [layout.chunk_key(table, page) for page, _ in pairs]
        try:
            self._chunks.update_many(
                keys, [key + body + key for key, (_, body) in zip(keys, pairs, strict=True)]
            )
        except BpfError as error:
            self._chunks.remove(keys)
            self._free.append(place)
            if error.errno in _NO_ROOM:
                self.counters.no_room += 1
                raise NoRoomError from error
            raise
        now = int(self._clock())
        slot = Slot(table, page_shift, now, identity, len(pairs), rows, version)
        self._executables.update(layout.slot_key(place), slot.pack())
        self._add(_Table(table, identity, rows, tuple(page for page, _ in pairs), set()))
        self.counters.loaded += 1
        return table

    def know(self, file: int, table: int) -> None:
        """From here on the kernel side unwinds a file by this table; 0: the file has none."""
        self._leave(file)
        if len(self._files) >= self.most_files:
            self._forget_files()
        self._file_tables.update(layout.file_key(file), layout.number(table))
        self._note_file(file, table)

    def forget(self, file: int) -> None:
        """The kernel side asks for this file again when it needs it."""
        self._file_tables.remove([layout.file_key(file)])
        self._leave(file)

    def unload(self, numbers: list[int]) -> None:
        """Takes tables away, and what is known of their files."""
        tables = [self._by_number[number] for number in numbers]
        files = [file for table in tables for file in table.files]
        self._file_tables.remove([layout.file_key(file) for file in files])
        for file in files:
            self._leave(file)
        for table in tables:
            self._clear(layout.place_of(table.number))
        self._chunks.remove([layout.chunk_key(t.number, page) for t in tables for page in t.pages])
        for table in tables:
            del self._by_number[table.number], self._by_id[table.id]
            self.used -= len(table.pages)
            self.rows -= table.rows
            self._release(layout.place_of(table.number))

    # --- room -------------------------------------------------------------------------------

    def _make_room(self, chunks: int) -> None:
        """Evicts what was not used for longest, unless even that is in use."""
        if self.used + chunks <= self.limit and self._free:
            return
        victims: list[int] = []
        room = self.limit - self.used
        before = self._clock() - HOT_SECONDS
        for used, number in self._by_age():
            if used > before or (room >= chunks and (self._free or victims)):
                break
            victims.append(number)
            room += len(self._by_number[number].pages)
        if room < chunks or not (self._free or victims):
            self.counters.no_room += 1
            raise NoRoomError
        self.counters.evicted += len(victims)
        self.unload(victims)

    def _by_age(self) -> list[tuple[int, int]]:
        """(when it was last used, number) of each table, the longest unused first."""
        used = []
        for number in self._by_number:
            value = self._executables.lookup(layout.slot_key(layout.place_of(number)))
            used.append((layout.last_used(value) if value else 0, number))
        return sorted(used)

    def _forget_files(self) -> None:
        """Makes room for files: those without a table go first, then those of the longest unused
        tables. Who still needs one is asked again."""
        oldest = list(self._without)[:FILES_AT_ONCE]
        if not oldest:
            tables = (self._by_number[number] for _, number in self._by_age())
            files = (file for table in tables for file in table.files)
            oldest = [file for file, _ in zip(files, range(FILES_AT_ONCE), strict=False)]
        self._file_tables.remove([layout.file_key(file) for file in oldest])
        for file in oldest:
            self._leave(file)
        self.counters.files_evicted += len(oldest)

    # --- what is known here of the maps -----------------------------------------------------

    def _add(self, table: _Table) -> None:
        self._by_number[table.number] = table
        self._by_id[table.id] = table.number
        self.used += len(table.pages)
        self.rows += table.rows

    def _note_file(self, file: int, table: int) -> None:
        self._files[file] = table
        if table:
            self._by_number[table].files.add(file)
        else:
            self._without[file] = None

    def _leave(self, file: int) -> None:
        table = self._files.pop(file, 0)
        if table:
            self._by_number[table].files.discard(file)
        self._without.pop(file, None)

    def _clear(self, place: int) -> None:
        """Frees a slot; its version stays, for it must not come back."""
        self._executables.update(layout.slot_key(place), Slot(version=self._versions[place]).pack())

    def _release(self, place: int) -> None:
        if self._versions[place] < MAX_VERSION:
            self._free.append(place)

    # --- at start -----------------------------------------------------------------------------

    def _recover(self) -> None:
        """Takes over what another collector loaded, and takes away what it left half done."""
        slots = self._slots()
        pages: dict[int, list[int]] = {}
        for key in self._chunks.all_keys():
            number, page = layout.chunk_key_of(key)
            pages.setdefault(number, []).append(page)
        for number, slot in slots.items():
            found = pages.get(number, [])
            if len(found) == slot.chunks and slot.id not in self._by_id:
                self._add(_Table(number, slot.id, slot.rows, tuple(found), set()))
        self._recover_files()
        for number in slots.keys() - self._by_number.keys():
            self._clear(layout.place_of(number))
        strays = [
            layout.chunk_key(number, page)
            for number in pages.keys() - self._by_number.keys()
            for page in pages[number]
        ]
        self._chunks.remove(strays)
        taken = {layout.place_of(number) for number in self._by_number}
        for place in range(len(self._versions)):
            if place not in taken:
                self._release(place)
        self.counters.kept = len(self._by_number)
        self.counters.strays = len(strays)

    def _slots(self) -> dict[int, Slot]:
        """The slots in use, by number of the table."""
        found = {}
        for key, value in self._executables.items(self._executables.max_entries):
            place, slot = layout.number_of(key), layout.slot(value)
            self._versions[place] = slot.version
            if slot.table and slot.table == layout.table_number(slot.version, place):
                found[slot.table] = slot
            elif slot.table:
                self._clear(place)
        return found

    def _recover_files(self) -> None:
        lost = []
        for key, value in self._file_tables.items():
            file, table = layout.file_key_of(key), layout.number_of(value)
            if table and table not in self._by_number:
                lost.append(key)
            else:
                self._note_file(file, table)
        self._file_tables.remove(lost)
