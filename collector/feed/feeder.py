# SPDX-License-Identifier: Apache-2.0
"""A thread that gets unwind tables into the kernel: from disk, or from the ELF worker.

Whoever learns of mappings says wanted(); what is known already costs a look into a table. Nothing
here waits for the thread, and the thread waits for one file at a time, never for ever.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from collector.feed.budget import Budget
from collector.feed.cache import Cache
from collector.feed.image import image
from collector.feed.jobs import Job, Jobs
from collector.feed.layout import ID_SIZE
from collector.feed.loaded import Loaded, NoRoomError, TooLargeError
from collector.feed.memory import MemoryDeniedError, ProcessMemory
from collector.mappings import records
from collector.model import Mapping, ProcessId
from collector.symbolize.asking import PAUSE_SECONDS, Asker, Counters
from collector.symbolize.candidate import (
    Opened,
    Refusal,
    RefusedError,
    refusal_by_file,
    refusal_by_mapping,
)
from collector.symbolize.client import Description, ElfClient
from collector.symbolize.extents import Extent, Range
from collector.symbolize.opener import Opener
from collector.symbolize.tables import UnwindTable
from libbpf import abi
from libbpf.errors import BpfError

RETRY_SECONDS = 60.0
"""How long a file passes for one without a table; the kernel side does not ask for it meanwhile."""

LASTING_SECONDS = 600.0
NO_ROOM_SECONDS = 10.0
LONGEST_NO_ROOM_SECONDS = 160.0
PREFETCH_SHARE = 0.5
"""Of the room that may be filled with what runs but was not sampled."""

_PASSING = frozenset({Refusal.WORKER_UNAVAILABLE, Refusal.HANGS, Refusal.GONE})
_LASTING = frozenset({Refusal.NOT_ELF, Refusal.KILLED_WORKER, Refusal.REMOTE})
_FROM_MEMORY = frozenset(
    {
        Refusal.DELETED,
        Refusal.UNREADABLE,
        Refusal.NOT_REGULAR,
        Refusal.OTHER_FILE,
        Refusal.PATH_TRUNCATED,
    }
)
"""What a file may be read by all the same: its pages, where a process has it mapped."""


@dataclass(slots=True)
class FeederCounters:
    """The field names are the counters' names. refused counts files by reason; known are those
    whose table was loaded already, for another file."""

    wanted: int = 0
    known: int = 0
    from_disk: int = 0
    fresh: int = 0
    fresh_ms: int = 0
    from_memory: int = 0
    without_rows: int = 0
    left_out_pages: int = 0
    refused_functions: int = 0
    not_prefetched: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Subject:
    """An open file, what its table is known by, and its size and mtime before it was read."""

    opened: Opened
    key: bytes
    stamp: tuple[int, int]


class Feeder:
    """wanted() may be called from any thread; the rest of the work is its own thread's."""

    def __init__(
        self,
        client: ElfClient,
        loaded: Loaded,
        cache: Cache,
        *,
        vdso: int | None = None,
        memory: ProcessMemory | None = None,
        opener: Opener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """vdso is a descriptor of the vDSO's bytes; memory is for files that cannot be opened."""
        self.counters = FeederCounters()
        self.asking = Counters()
        self.loaded = loaded
        self.cache = cache
        self._asker = Asker(client, self.asking, clock)
        self._vdso = vdso
        self.memory = memory
        self._opener = opener or Opener()
        self._clock = clock
        self._lock = threading.Condition()
        self._jobs = Jobs()
        self._budget = Budget(clock())
        self._parked: list[tuple[float, int]] = []
        self._no_room: dict[int, float] = {}
        self._began = 0.0
        self._first_walk = b""

    # --- for other threads --------------------------------------------------------------------

    def start(self, first_walk: bytes = b"") -> None:
        """Starts the thread, which begins with what runs already: the walk over all mappings."""
        self._first_walk = first_walk
        threading.Thread(target=self._run, name="feeder", daemon=True).start()

    def wanted(self, process: ProcessId, mappings: Iterable[Mapping]) -> None:
        """A process that was seen maps these; those not known to the kernel will be."""
        known = self.loaded.table_of
        news = {m.file: m for m in mappings if m.file and known(m.file) is None}
        if not news:
            return
        with self._lock:
            for file, mapping in news.items():
                self.counters.wanted += self._jobs.add(file, process, mapping, asked=1)
            self._lock.notify()

    @property
    def waiting(self) -> int:
        """Files whose tables are still to come."""
        return len(self._jobs)

    @property
    def not_queued(self) -> int:
        return self._jobs.full

    @property
    def busy_seconds(self) -> float:
        """How long the present file has been taking; 0 between two files."""
        began = self._began
        return self._clock() - began if began else 0.0

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        self._prepare()
        while True:
            with self._lock:
                job = self._next()
            self._serve(job)

    def _prepare(self) -> None:
        """What runs already, and what the last collector found to have no table."""
        for file in self.loaded.without():
            self._park(file, RETRY_SECONDS)
        found = records.mapped_files(self._first_walk)
        self._first_walk = b""
        with self._lock:
            for file, (process, mapping, count) in found.items():
                if self.loaded.table_of(file) is None:
                    self._jobs.add(file, process, mapping, mapped=count)

    def _next(self) -> Job:
        """Waits for a job that may be done now."""
        while True:
            now = self._clock()
            self._ask_again(now)
            pause = self._budget.wait(now)
            job = self._jobs.take(fresh=not pause)
            if job is not None:
                return job
            dues = [self._parked[0][0] - now] if self._parked else []
            dues += [pause] if pause and len(self._jobs) else []
            self._lock.wait(max(0.01, min(dues)) if dues else None)

    def _serve(self, job: Job) -> None:
        self._began = self._clock()
        try:
            finished = self._do(job)
        except Exception:  # noqa: BLE001 - one file must not end the thread for all others
            traceback.print_exc()
            self._refuse(job.file, "failed", LASTING_SECONDS)
            finished = True
        self._began = 0.0
        with self._lock:
            if finished:
                self._jobs.done(job)
            else:
                self._jobs.put_back(job)

    def _do(self, job: Job) -> bool:
        """False when its table has to wait for the budget."""
        try:
            table = self._table(job)
            if table is not None:
                self._no_room.pop(job.file, None)
                self.loaded.know(job.file, table)
            return table is not None or not job.fresh
        except RefusedError as error:
            self._refuse(job.file, error.refusal.value, _pause(error.refusal))
        except TooLargeError:
            self._refuse(job.file, "too_large", LASTING_SECONDS)
        except NoRoomError:
            last = self._no_room.pop(job.file, NO_ROOM_SECONDS / 2)
            pause = min(2 * last, LONGEST_NO_ROOM_SECONDS)
            self._no_room[job.file] = pause
            if len(self._no_room) > self.loaded.most_files:
                del self._no_room[next(iter(self._no_room))]
            self._refuse(job.file, "no_room", pause)
        except BpfError as error:
            print(f"collect: {error}", file=sys.stderr)
            self._refuse(job.file, "map_refused", RETRY_SECONDS)
        return True

    def _table(self, job: Job) -> int | None:
        """Number of the file's table, loaded if need be, 0 if it has no rows; None when there is
        none for now, and nobody is to blame."""
        with self._subject(job) as subject:
            number = self.loaded.find(subject.key)
            if number is not None:
                self.counters.known += 1
                return number
            table = None if job.fresh else self.cache.get(subject.key)
            if table is not None:
                self.counters.from_disk += 1
            else:
                job.fresh = True
                if self._budget.wait(self._clock()):
                    return None
                table = self._ask(subject)
        if not table.chunks:
            self.counters.without_rows += 1
            return 0
        if not job.asked and self._is_full_enough(len(table.chunks)):
            job.fresh = False
            self.counters.not_prefetched += 1
            return None
        return self.loaded.load(subject.key, table.page_shift, table.rows, table.chunks)

    def _is_full_enough(self, chunks: int) -> bool:
        return self.loaded.used + chunks > PREFETCH_SHARE * self.loaded.limit

    def _ask(self, subject: _Subject) -> UnwindTable:
        began = self._clock()
        self._asker.start_window()
        try:
            table = self._asker.unwind(subject.opened)
        finally:
            took = self._clock() - began
            self._budget.spend(took, began + took)
            self.counters.fresh_ms += int(1000 * took)
        if _stamp(subject.opened.fd) != subject.stamp:
            raise RefusedError(Refusal.OTHER_FILE)
        self.counters.fresh += 1
        self.counters.left_out_pages += table.left_out
        self.counters.refused_functions += table.refused
        self.cache.put(subject.key, table)
        return table

    # --- files ------------------------------------------------------------------------------------

    @contextmanager
    def _subject(self, job: Job) -> Iterator[_Subject]:
        """Raises RefusedError."""
        opened, origin = self._opened(job)
        try:
            stamp = _stamp(opened.fd)
            self._asker.start_window()
            description = self._asker.describe(opened)
            yield _Subject(opened, _key(description, opened, origin), stamp)
        finally:
            os.close(opened.fd)

    def _opened(self, job: Job) -> tuple[Opened, tuple[object, ...]]:
        """The mapped file, or what a process has mapped of it, and whose word its build id is.

        Files of one owner share tables: nobody else can have a build id of theirs.
        """
        if job.file == abi.FILE_VDSO:
            return self._open_vdso(), ("vdso",)
        try:
            opened = self._open(job.mapping)
        except RefusedError as error:
            if self.memory is None or error.refusal not in _FROM_MEMORY:
                raise
            opened = self._open_memory(self.memory, job, error)
            self.counters.from_memory += 1
            return opened, ("memory", job.file)
        return opened, ("owner", os.fstat(opened.fd).st_uid, opened.size)

    def _open_vdso(self) -> Opened:
        if self._vdso is None:
            raise RefusedError(Refusal.VDSO)
        return Opened(os.dup(self._vdso), 0, 0, os.fstat(self._vdso).st_size, 0, True, 0)

    def _open_memory(self, memory: ProcessMemory, job: Job, refused: RefusedError) -> Opened:
        """An image of what the process has mapped; `refused` again when the kernel denies it."""
        mapping = job.mapping

        def opened(fd: int) -> Opened:
            size, device, inode = mapping.file_size, mapping.device, mapping.inode
            return Opened(fd, device, inode, size, job.file, True, mapping.fs_magic)

        def plan(fd: int, mapped: int, present: list[Range]) -> tuple[Extent, ...]:
            self._asker.start_window()
            return self._asker.plan(opened(fd), mapped, present)

        try:
            return opened(image(memory, job.process, [mapping], plan))
        except MemoryDeniedError as error:
            if error.denial == "gone":  # another process may have it
                raise RefusedError(Refusal.GONE) from error
            raise refused from error

    def _open(self, mapping: Mapping) -> Opened:
        refusal = refusal_by_mapping(mapping)
        if refusal is not None:
            raise RefusedError(refusal)
        opened = self._opener.open(mapping.path)
        refusal = refusal_by_file(mapping, opened)
        if refusal is not None:
            os.close(opened.fd)
            raise RefusedError(refusal)
        return opened

    # --- what is refused ------------------------------------------------------------------------

    def _refuse(self, file: int, reason: str, pause: float) -> None:
        """The file passes for one without a table for a while, so that nobody asks meanwhile."""
        self.counters.refused[reason] += 1
        with suppress(BpfError):
            self.loaded.know(file, 0)
        self._park(file, pause)

    def _park(self, file: int, pause: float) -> None:
        heapq.heappush(self._parked, (self._clock() + pause, file))

    def _ask_again(self, now: float) -> None:
        """Whose time is over is forgotten, and asked for again when it is needed."""
        while self._parked and self._parked[0][0] <= now:
            _, file = heapq.heappop(self._parked)
            if self.loaded.table_of(file) == 0:
                self.loaded.forget(file)


def _pause(refusal: Refusal) -> float:
    if refusal in _PASSING:
        return PAUSE_SECONDS
    return LASTING_SECONDS if refusal in _LASTING else RETRY_SECONDS


def _key(description: Description, opened: Opened, origin: tuple[object, ...]) -> bytes:
    """What a table is known by, in the kernel and on disk."""
    parts = (description.build_id_type, description.build_id, *origin)
    if description.build_id_type != "gnu":  # a hash of some of the bytes: only of this very file
        parts += opened.identity
    return hashlib.sha256(repr(parts).encode()).digest()[:ID_SIZE]


def _stamp(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns
