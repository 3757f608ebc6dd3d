# SPDX-License-Identifier: Apache-2.0
"""Which window comes next, found without listing a full spool every time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from collector.spool.format import name_of, number_of
from collector.spool.reader import SpoolReader

# Tens of thousands of names take longer to list than a window takes to send: listing gets this
# share of the time, but after so many seconds its turn comes in any case.
_LIST_SHARE = 0.001
_MOST_SECONDS_BETWEEN_LISTS = 15.0

# Coarser than the time stamps of any file system.
_SETTLED_NS = 3_000_000_000


class Backlog:
    """The windows after `settled`, oldest first. Raises OSError when the spool is gone."""

    def __init__(
        self, spool: SpoolReader, settled: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spool = spool
        self._last = settled
        self._clock = clock
        self._names: deque[str] = deque()
        self._seen_ns = -1
        self._next_list = float("-inf")

    def next(self) -> str | None:
        """The window after the last one given; None if there is none yet."""
        if not self._names:
            self._look()
        if not self._names:
            return None
        self._last = self._names.popleft()
        return self._last

    def _look(self) -> None:
        changed = self._spool.changed_ns()
        if changed == self._seen_ns:
            return
        following = name_of((number_of(self._last) or 0) + 1)
        if self._spool.has(following):
            self._names.append(following)
        elif self._clock() >= self._next_list:
            # A later file may bear the same time; only once that is past, unchanged means so.
            if time.time_ns() - changed > _SETTLED_NS:
                self._seen_ns = changed
            self._list()

    def _list(self) -> None:
        began = self._clock()
        self._names.extend(self._spool.names(after=self._last))
        ended = self._clock()
        pause = min((ended - began) / _LIST_SHARE, _MOST_SECONDS_BETWEEN_LISTS)
        self._next_list = ended + pause
