# SPDX-License-Identifier: Apache-2.0
"""Known processes: what they are and what they map, by identity, least recently used first out."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field

from collector.model import Mapping, MappingFlag, Process, ProcessId

MOST_PROCESSES = 4096
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
PAUSE_PER_MAPPING = 0.0005
"""Seconds; a walk takes a fiftieth of it: the most of one core that one process costs."""


@dataclass(slots=True)
class Known:
    """One program run. `starts` are the mappings' starts; `mapped` says they have been read.

    Before walk_again, in seconds, a walk is not worth it: the last ones found nothing new, or there
    is so much to find that they would take too much time. ended counts the drains that saw it so.
    """

    process: Process | None = None
    mappings: tuple[Mapping, ...] = ()
    latest: tuple[Mapping, ...] = ()
    starts: list[int] = field(default_factory=list)
    mapped: bool = False
    ended: int = 0
    walk_again: float = 0.0
    pause: float = 0.0

    def set_mappings(self, mappings: tuple[Mapping, ...], now: float) -> None:
        """Takes a fresh walk. A mapping gone since the last one stays where nothing new lies:
        samples of this window may still point into it."""
        if self.mapped and mappings == self.latest:
            self.pause = min(max(2 * self.pause, SHORTEST_PAUSE), LONGEST_PAUSE)
            self.walk_again = now + max(self.pause, len(mappings) * PAUSE_PER_MAPPING)
            return
        self.walk_again = now + len(mappings) * PAUSE_PER_MAPPING
        self.replace(mappings)

    def replace(self, mappings: tuple[Mapping, ...]) -> None:
        self.mapped, self.latest, self.pause = True, mappings, 0.0
        fresh = set(mappings)
        gone = [old for old in self.mappings if old not in fresh]
        kept = [old for old in gone if not any(overlap(old, new) for new in mappings)]
        self.mappings = tuple(sorted([*mappings, *kept], key=lambda mapping: mapping.start))
        self.starts = [mapping.start for mapping in self.mappings]

    def find(self, address: int) -> Mapping | None:
        index = bisect_right(self.starts, address) - 1
        if index < 0 or address >= self.mappings[index].end:
            return None
        return self.mappings[index]

    @property
    def executable(self) -> str:
        """Path of the program: the file mapped lowest, which the kernel places there."""
        files = (m.path for m in self.mappings if not m.flags & MappingFlag.ANONYMOUS and m.path)
        return next(files, "")


def overlap(a: Mapping, b: Mapping) -> bool:
    return a.start < b.end and b.start < a.end


class ProcessTable:
    """ProcessId -> Known, at most `limit` of them; `evicted` counts what the limit cost."""

    def __init__(self, limit: int = MOST_PROCESSES) -> None:
        self._known: OrderedDict[ProcessId, Known] = OrderedDict()
        self._limit = limit
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def mapped(self) -> int:
        return sum(known.mapped for known in self._known.values())

    def get(self, process: ProcessId) -> Known | None:
        known = self._known.get(process)
        if known:
            self._known.move_to_end(process)
        return known

    def get_or_add(self, process: ProcessId) -> Known:
        known = self.get(process)
        if known is None:
            known = self._known[process] = Known()
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
                self.evicted += 1
        return known

    def end(self, process: ProcessId) -> None:
        """The program run is over. Its last samples may be in the set that fills by now, so it is
        forgotten after the drain after the next."""
        if known := self._known.get(process):
            known.ended = max(known.ended, 1)

    def forget_ended(self) -> None:
        for process, known in list(self._known.items()):
            if known.ended > 1:
                del self._known[process]
            elif known.ended:
                known.ended = 2
