# SPDX-License-Identifier: Apache-2.0
"""How much of a core new unwind tables may take."""

from __future__ import annotations

SHARE = 0.2
"""Of one core, for tables that are not on disk yet."""

PERIOD = 10.0
"""Over so many seconds: what was not used of the last ones may be used at once."""

WARM_UP = 30.0
"""Seconds after the start without a limit, when everything that runs is new."""


LEAST = 0.001
"""Seconds of debt that nobody waits for."""


class Budget:
    """Times are seconds of a clock that never goes back."""

    def __init__(self, now: float) -> None:
        self._warm_until = now + WARM_UP
        self._left = SHARE * PERIOD
        self._at = now

    def spend(self, seconds: float, now: float) -> None:
        if now >= self._warm_until:
            self._refill(now)
            self._left -= seconds

    def wait(self, now: float) -> float:
        """Seconds until something may be spent again; 0: now."""
        if now < self._warm_until:
            return 0.0
        self._refill(now)
        return -self._left / SHARE if self._left < -LEAST else 0.0

    def _refill(self, now: float) -> None:
        self._left = min(SHARE * PERIOD, self._left + (now - self._at) * SHARE)
        self._at = now
