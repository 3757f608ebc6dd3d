# SPDX-License-Identifier: Apache-2.0
"""A process that loads and unloads tables until it kills itself, or TABLES are through.

    loading.py PINS SEED TABLES FATAL

With FATAL it dies by SIGKILL right before its FATAL-th change to a map.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from collector.feed.loaded import Loaded
from collector.read.pins import open_newest
from tests.collector.feed.maps import chunks, identity
from tests.kernel.drainer import SMALL_BATCH, Fate, Mortal


class MortalTables(Mortal):
    """Updates of many, too, are steps of fate."""

    def update_many(self, keys: list[bytes], values: list[bytes]) -> None:
        for start in range(0, len(keys), SMALL_BATCH):
            self._fate.step()
            self._real.update_many(
                keys[start : start + SMALL_BATCH], values[start : start + SMALL_BATCH]
            )


def main(pins: str, seed: str, tables: str, fatal: str) -> None:
    held, fate = open_newest(pins), Fate(int(fatal))
    names = ("executables", "file_tables", "unwind_chunks")
    maps: list[Any] = [MortalTables(held.maps[name], fate) for name in names]
    loaded = Loaded(*maps)
    chance = random.Random(seed)
    for number in range(int(tables)):
        name = (seed, number)
        table = loaded.load(identity(name), 16, 1, chunks(chance.randrange(1, 60)))
        for file in range(chance.randrange(3)):
            loaded.know(chance.randrange(2, 1 << 64) + file, table)
        loaded.know(chance.randrange(2, 1 << 64), 0)
        if chance.random() < 0.4:
            loaded.unload([table])


if __name__ == "__main__":
    main(*sys.argv[1:])
