# SPDX-License-Identifier: Apache-2.0
"""Files by the kernel side's numbers: what a walk of one process tells of another's mappings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from collector.mappings.ended import Ended
from collector.model import Mapping, MappingFlag

MOST_FILES = 16_384
ANONYMOUS = Mapping(0, 0, 0, 0, 0, 0, MappingFlag.ANONYMOUS, "")


class Files:
    """File number -> a mapping of it, at most `limit`; the longest unused go first.

    evicted and unknown count what the limit cost and what nobody had told of.
    """

    def __init__(self, limit: int = MOST_FILES) -> None:
        self._known: OrderedDict[int, Mapping] = OrderedDict()
        self._limit = limit
        self.evicted = 0
        self.unknown = 0

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, mappings: Iterable[Mapping]) -> list[int]:
        """Remembers what these are of; the numbers that are new."""
        new = []
        for mapping in mappings:
            if not mapping.file:
                continue
            if mapping.file not in self._known:
                new.append(mapping.file)
            self._known[mapping.file] = mapping
            self._known.move_to_end(mapping.file)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
                self.evicted += 1
        return new

    def mappings(self, ended: Ended) -> tuple[tuple[Mapping, ...], list[int]]:
        """The process's mappings as far as their files are known, and the files that are not."""
        found, unknown = [], []
        for one in ended.ranges:
            known = self._known.get(one.file) if one.file else ANONYMOUS
            if known is None:
                unknown.append(one.file)
                self.unknown += 1
                continue
            if one.file:
                self._known.move_to_end(one.file)
            found.append(replace(known, start=one.start, end=one.end, offset=one.offset))
        return tuple(found), unknown
