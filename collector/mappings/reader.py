# SPDX-License-Identifier: Apache-2.0
"""A thread that walks the mappings of one process at a time.

A walk waits on the process's mmap lock, so it may take as long as that process likes. It
therefore happens here, never in the main loop; a walk past its deadline leaves its thread
behind and another one goes on. What is asked twice is walked once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import deque
from dataclasses import dataclass

from collector.mappings import records
from collector.model import Mapping, Process, ProcessId
from libbpf import iterators
from libbpf.errors import BpfError

DEADLINE_SECONDS = 2.0
MOST_THREADS = 4
MOST_WAITING = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """What one walk brought. process is None when it ended meanwhile; then id may be too."""

    pid: int
    process: Process | None
    id: ProcessId | None
    mappings: tuple[Mapping, ...]


@dataclass(slots=True)
class ReaderCounters:
    """The field names are the counters' names."""

    walks: int = 0
    refused: int = 0
    gone: int = 0
    failed: int = 0
    stalled: int = 0


class MappingReader:
    """Asks by pid, answers by collect(); `wakeup` is readable when there are answers."""

    def __init__(self, task_vma: int, task: int) -> None:
        self._programs = (task_vma, task)
        self._lock = threading.Condition()
        self._waiting: deque[int] = deque()
        self._queued: set[int] = set()
        self._answers: list[Answer] = []
        self._busy: dict[int, float] = {}
        self._retired: set[int] = set()
        self._numbers = 0
        self.counters = ReaderCounters()
        self.wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def start(self) -> None:
        """Starts the first thread: after fork, before the door closes."""
        with self._lock:
            self._start_thread()

    def ask(self, pid: int) -> None:
        """Wants a fresh walk of `pid`; refused when too many wait."""
        with self._lock:
            if pid in self._queued:
                return
            if len(self._waiting) >= MOST_WAITING:
                self.counters.refused += 1
                return
            self._queued.add(pid)
            self._waiting.append(pid)
            self._lock.notify()

    def collect(self) -> list[Answer]:
        """The answers since the last call."""
        with self._lock:
            answers, self._answers = self._answers, []
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wakeup)
        return answers

    def check_deadlines(self) -> None:
        """Replaces a thread whose walk takes too long; call it about once a second."""
        now = time.monotonic()
        with self._lock:
            late = [n for n, since in self._busy.items() if now - since > DEADLINE_SECONDS]
            for number in late:
                if number not in self._retired and len(self._busy) < MOST_THREADS:
                    self.counters.stalled += 1
                    self._retired.add(number)
                    self._start_thread()

    @property
    def idle(self) -> bool:
        """Whether nothing is asked that is not answered, but for walks past their deadline."""
        with self._lock:
            return not self._waiting and not self._busy.keys() - self._retired

    def _start_thread(self) -> None:
        self._numbers += 1
        name = f"mappings-{self._numbers}"
        threading.Thread(target=self._run, args=(self._numbers,), name=name, daemon=True).start()

    def _run(self, number: int) -> None:
        while True:
            with self._lock:
                self._busy.pop(number, None)
                if number in self._retired:
                    self._retired.discard(number)
                    return
                while not self._waiting:
                    self._lock.wait()
                pid = self._waiting.popleft()
                self._queued.discard(pid)
                self._busy[number] = time.monotonic()
            if answer := self._walk(pid):
                with self._lock:
                    self._answers.append(answer)
                os.eventfd_write(self.wakeup, 1)

    def _walk(self, pid: int) -> Answer | None:
        self.counters.walks += 1
        task_vma, task = self._programs
        try:
            found = records.mappings(iterators.read(task_vma, "task_vma", tid=pid))
            processes = records.tasks(iterators.read(task, "task", tid=pid))
        except BpfError as error:
            if error.errno == errno.ESRCH:
                self.counters.gone += 1
            else:
                self.counters.failed += 1
            return None
        except records.RecordError:
            self.counters.failed += 1
            return None
        process = processes[0] if processes else None
        identity, mappings = next(reversed(found.items()), (process.id if process else None, []))
        return Answer(pid, process, identity, tuple(mappings))
