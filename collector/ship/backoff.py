# SPDX-License-Identifier: Apache-2.0
"""How long to wait after a failure."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential with full jitter, in seconds: agents that failed together return apart.

    least keeps an unlucky draw from becoming a busy loop.
    """

    base: float = 1.0
    cap: float = 120.0
    least: float = 0.05

    def seconds(self, failures: int) -> float:
        """The wait after the `failures`-th failure in a row, counted from 1."""
        ceiling = min(self.cap, self.base * 2.0 ** min(failures - 1, 64))
        return max(self.least, random.uniform(0, ceiling))  # noqa: S311 -- spreads load, hides nothing
