# SPDX-License-Identifier: Apache-2.0
"""Counters to rates: what one window added, per second."""

from __future__ import annotations

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


def _gain(value: int, before: int) -> int:
    return value - before if value >= before else value
