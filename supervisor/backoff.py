# SPDX-License-Identifier: Apache-2.0
"""How long to wait before a process that died is started again."""

from __future__ import annotations

FIRST_SECONDS = 0.25
LIMIT_SECONDS = 30.0
SETTLED_SECONDS = 30.0
"""A process that lived this long had nothing wrong with its start."""


class Backoff:
    """Doubles from FIRST_SECONDS to LIMIT_SECONDS, so a crash can repeat but never loop."""

    def __init__(self) -> None:
        self.restarts = 0
        self._next = FIRST_SECONDS

    def after(self, uptime: float) -> float:
        """Seconds to wait after a process died that had run for `uptime` seconds."""
        self.restarts += 1
        if uptime >= SETTLED_SECONDS:
            self._next = FIRST_SECONDS
        delay = self._next
        self._next = min(delay * 2, LIMIT_SECONDS)
        return delay
