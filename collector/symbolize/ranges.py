# SPDX-License-Identifier: Apache-2.0
"""Functions of one executable, as far as they were asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from collector.model import Executable, Frame


class KnownFunctions:
    """Address ranges [start, end) with a name, or none, and the frames made from them.

    A new address in a known range needs no other question to the worker.
    """

    def __init__(self, executable: Executable) -> None:
        self._executable = executable
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._names: list[str] = []
        self._frames: dict[int, Frame] = {}

    def __len__(self) -> int:
        """Ranges and frames held."""
        return len(self._starts) + len(self._frames)

    def copy(self) -> KnownFunctions:
        """The same ranges; frames are made again when asked for."""
        other = KnownFunctions(self._executable)
        other._starts, other._ends = self._starts.copy(), self._ends.copy()
        other._names = self._names.copy()
        return other

    def add(self, start: int, end: int, name: str) -> None:
        """A range that does not overlap a known one; what overlaps is left out."""
        place = bisect_right(self._starts, start)
        if place and self._ends[place - 1] > start:
            return
        if place < len(self._starts) and self._starts[place] < end:
            return
        self._starts.insert(place, start)
        self._ends.insert(place, end)
        self._names.insert(place, name)

    def frame(self, address: int) -> Frame | None:
        """The frame of a virtual address in a known range, always the same object."""
        frame = self._frames.get(address)
        if frame is None:
            place = bisect_right(self._starts, address) - 1
            if place < 0 or address >= self._ends[place]:
                return None
            frame = Frame(self._executable, address, self._names[place])
            self._frames[address] = frame
        return frame

    def nameless(self, address: int) -> Frame:
        """The frame of an address whose function will not become known any more."""
        frame = self._frames[address] = Frame(self._executable, address, "")
        return frame

    def unknown(self, addresses: Iterable[int]) -> list[int]:
        """Those addresses in no known range, ascending, each once."""
        return sorted(address for address in set(addresses) if self.frame(address) is None)
