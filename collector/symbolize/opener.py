# SPDX-License-Identifier: Apache-2.0
"""Opening a path that may hang, from a thread that may be given up.

open(2) on a dead network mount or a hostile FUSE sleeps for as long as it likes, and no
signal ends it. So a helper thread does it; past the deadline the thread is abandoned and
another one takes its place, a few times. A thread that comes back late puts its file away.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

from collector.symbolize.candidate import Opened, Refusal, RefusedError, open_candidate

DEADLINE = 1.0
MAX_STUCK = 4


class _Job:
    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._abandoned = False
        self._opened: Opened | None = None

    def run(self, open_path: Callable[[str], Opened]) -> bool:
        """False when nobody waits for the result any more."""
        try:
            opened = open_path(self.path)
        except (OSError, ValueError):
            opened = None
        with self._lock:
            if self._abandoned:
                if opened is not None:
                    os.close(opened.fd)
                return False
            self._opened = opened
            self._done.set()
            return True

    def result(self, timeout: float) -> Opened:
        """Raises RefusedError; HANGS means that the thread is to be given up."""
        self._done.wait(timeout)
        with self._lock:
            if not self._done.is_set():
                self._abandoned = True
                raise RefusedError(Refusal.HANGS)
        if self._opened is None:
            raise RefusedError(Refusal.UNREADABLE)
        return self._opened


class Opener:
    """Opens candidates one after the other, each within `deadline` seconds. For one thread."""

    def __init__(
        self,
        deadline: float = DEADLINE,
        open_path: Callable[[str], Opened] = open_candidate,
    ) -> None:
        self._deadline = deadline
        self._open_path = open_path
        self._jobs: SimpleQueue[_Job] | None = None
        self._returned: SimpleQueue[None] = SimpleQueue()
        self._stuck = 0

    @property
    def stuck(self) -> int:
        """Threads that wait for a file system that does not answer."""
        while not self._returned.empty():
            self._returned.get_nowait()
            self._stuck -= 1
        return self._stuck

    def open(self, path: str) -> Opened:
        """The caller closes the descriptor. Raises RefusedError: UNREADABLE or HANGS."""
        if self.stuck >= MAX_STUCK:
            raise RefusedError(Refusal.HANGS)
        if self._jobs is None:
            self._jobs = SimpleQueue()
            threading.Thread(
                target=_serve,
                args=(self._jobs, self._returned, self._open_path),
                name="opener",
                daemon=True,
            ).start()
        job = _Job(path)
        self._jobs.put(job)
        try:
            return job.result(self._deadline)
        except RefusedError as error:
            if error.refusal is Refusal.HANGS:
                self._jobs = None
                self._stuck += 1
            raise


def _serve(
    jobs: SimpleQueue[_Job], returned: SimpleQueue[None], open_path: Callable[[str], Opened]
) -> None:
    while jobs.get().run(open_path):
        pass
    returned.put(None)
