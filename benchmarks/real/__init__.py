# SPDX-License-Identifier: Apache-2.0
"""Real programs at work, for what depends on how they are compiled."""

from __future__ import annotations

from benchmarks.real import programs, servers
from benchmarks.real.load import Load

LOADS: tuple[Load, ...] = (*programs.LOADS, *servers.LOADS)
