# SPDX-License-Identifier: Apache-2.0
"""Counters to rates: what one window added, per second."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping


class Rates:
    """Remembers the counters of the window before and the rates of the newest one."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._seconds = 0.0
        self.per_second: dict[str, float] = {}

    def update(self, seconds: float, counters: Mapping[str, int]) -> None:
        """Take the counters at `seconds` of a clock that never goes back.

        A counter that fell was reset by a new generation: what it shows now is what it gained.
        """
        passed = seconds - self._seconds
        if self._before and passed > 0:
            self.per_second = {
                name: _gain(value, self._before.get(name, 0)) / passed
                for name, value in counters.items()
            }
        self._before, self._seconds = dict(counters), seconds


class LastMinute:
    """What counters gained of late: over a minute, or since the first look if that is less."""

    def __init__(self, seconds: float = 60.0, step: float = 1.0) -> None:
        """Looks less than `step` seconds apart are not kept."""
        self._length = seconds
        self._step = step
        self._looks: deque[tuple[float, dict[str, int]]] = deque()

    def look(self, seconds: float, counters: Mapping[str, int]) -> dict[str, int]:
        """Takes the counters at `seconds` of a clock that never goes back; what they gained."""
        while len(self._looks) > 1 and self._looks[1][0] <= seconds - self._length:
            self._looks.popleft()
        before = self._looks[0][1] if self._looks else counters
        if not self._looks or seconds - self._looks[-1][0] >= self._step:
            self._looks.append((seconds, dict(counters)))
        return {name: _gain(value, before.get(name, 0)) for name, value in counters.items()}


def _gain(value: int, before: int) -> int:
    return value - before if value >= before else value
