# SPDX-License-Identifier: Apache-2.0
"""Files whose unwind tables are wanted: each once, first those asked for most, and small ones."""

from __future__ import annotations

from dataclasses import dataclass

from collector.model import Mapping, ProcessId

MOST_WAITING = 4096
SMALL = 4 << 20
"""Bytes of a file up to which its size hardly matters."""


@dataclass(slots=True)
class Job:
    """A mapped file. asked: how often a process was seen that needs it; mapped: how many mapped it
    when the collector started. fresh: its table is not on disk."""

    file: int
    process: ProcessId
    mapping: Mapping
    asked: int = 0
    mapped: int = 0
    fresh: bool = False
    working: bool = False


class Jobs:
    """For one thread at a time. full counts the files that were not taken: they are asked for
    again when they are needed again."""

    def __init__(self, limit: int = MOST_WAITING) -> None:
        self._jobs: dict[int, Job] = {}
        self._limit = limit
        self.full = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(
        self, file: int, process: ProcessId, mapping: Mapping, *, asked: int = 0, mapped: int = 0
    ) -> bool:
        """Whether it is to be done; the newest process that maps a file is the one to look at."""
        job = self._jobs.get(file)
        if job is None:
            if len(self._jobs) >= self._limit:
                self.full += 1
                return False
            job = self._jobs[file] = Job(file, process, mapping)
        elif not job.working:
            job.process, job.mapping = process, mapping
        job.asked += asked
        job.mapped += mapped
        return True

    @staticmethod
    def _worth(job: Job) -> tuple[float, float]:
        """What is asked for comes before what only runs; a large file is worth it when it is asked
        for more often than several small ones."""
        cost = 1 + job.mapping.file_size / SMALL
        return job.asked / cost, job.mapped / cost

    def take(self, *, fresh: bool) -> Job | None:
        """The next one, of those that need a new table only if `fresh`; it stays until done()."""
        ready = [job for job in self._jobs.values() if fresh or not job.fresh]
        if not ready:
            return None
        job = max(ready, key=self._worth)
        job.working = True
        return job

    def put_back(self, job: Job) -> None:
        job.working = False

    def done(self, job: Job) -> None:
        del self._jobs[job.file]
