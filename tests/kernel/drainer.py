# SPDX-License-Identifier: Apache-2.0
"""A collector without symbols, for tests that kill it: flip, drain, spool, empty, and again.

    drainer.py PINS SPOOL [FATAL]

It runs until SIGTERM, then drains a last time without a heartbeat. With FATAL it kills itself
with SIGKILL right before the FATAL-th change it makes to a map or a file after resuming began.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from collector.model import Written
from collector.read.aggregation import Aggregation, Drained
from collector.read.pins import open_newest
from collector.spool import files
from collector.spool.format import Header
from collector.spool.writer import Spool
from libbpf.maps import Map

WINDOW_SECONDS = 0.01
SMALL_BATCH = 16  # of deletions, so that a kill can fall between two


class Fate:
    """Counts changes down to the one that is not made any more."""

    def __init__(self, left: int) -> None:
        self.left = left

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """A map whose changes are steps of fate."""

    def __init__(self, real: Map, fate: Fate) -> None:
        self._real = real
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def update(self, key: bytes, value: bytes) -> None:
        self._fate.step()
        self._real.update(key, value)

    def remove(self, keys: list[bytes]) -> None:
        for start in range(0, len(keys), SMALL_BATCH):
            self._fate.step()
            self._real.remove(keys[start : start + SMALL_BATCH])


def mortal_files(fate: Fate) -> None:
    """Renames and the fsync after them are steps too."""
    rename, fsync = os.rename, os.fsync

    def step_and_rename(*arguments: Any, **options: Any) -> None:
        fate.step()
        rename(*arguments, **options)

    def step_and_fsync(fd: int) -> None:
        fate.step()
        fsync(fd)

    files.os.rename = step_and_rename
    files.os.fsync = step_and_fsync


def main(pins: str, directory: str, fatal: str = "0") -> None:
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    held = open_newest(pins)
    spool = Spool(Path(directory), max_bytes=1 << 30, max_age_seconds=1 << 20, min_free_bytes=0)
    maps: dict[str, Any] = dict(held.maps)
    if int(fatal):
        fate = Fate(int(fatal))
        maps = {name: Mortal(real, fate) for name, real in maps.items()}
        mortal_files(fate)

    def keep(drained: Drained) -> None:
        window = drained.window
        total = sum(sample.count for sample in window.samples)
        header = Header(
            window.generation, window.sequence, window.time_ns, window.duration_ns, total
        )
        spool.write(header, b"")
        aggregation.empty(drained)

    aggregation = Aggregation(held.identity, maps)
    last = spool.last_header
    written = (
        Written(last.generation, last.sequence, last.time_ns + last.duration_ns) if last else None
    )
    left = aggregation.resume(written)
    aggregation.beat()
    if left:
        keep(left)
    while not stopping:
        time.sleep(WINDOW_SECONDS)
        keep(aggregation.flip())
    keep(aggregation.flip(beating=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
