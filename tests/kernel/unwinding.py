# SPDX-License-Identifier: Apache-2.0
"""The kernel side of unwinding without a collector: real programs, tables put in by the test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collector.elf.source import Source
from collector.feed.loaded import Loaded
from collector.mappings import records
from collector.model import Mapping, Stack, StackEnd
from collector.read import decode
from collector.read.aggregation import Aggregation
from collector.read.pins import Pins, open_newest
from collector.unwind.chunks import Packed, packed
from libbpf import iterators
from supervisor import mounts
from tests.loader.stand import Stand


@dataclass
class Unwinding:
    """A generation that samples, and what is loaded there."""

    pins: Pins
    loaded: Loaded

    def mappings(self, pid: int) -> list[Mapping]:
        """A process's executable mappings; to read them fills the kernel's ranges too."""
        raw = iterators.read(self.pins.iterators["task_vma"], "task_vma", tid=pid)
        return next(iter(records.mappings(raw).values()))

    def table_of(self, pid: int) -> dict[str, int]:
        """Makes and loads a table for each file that the process has mapped: path to number."""
        files = {one.path: one.file for one in self.mappings(pid) if one.path.startswith("/")}
        return {path: self.load(file, pack(path)) for path, file in files.items()}

    def load(self, file: int, made: Packed) -> int:
        """Makes `made` the table of a file; its number."""
        identity = file.to_bytes(16, "little")
        table = self.loaded.find(identity)
        if table is None:
            table = self.loaded.load(identity, made.page_shift, made.rows, made.chunks)
        self.loaded.know(file, table)
        return table

    def stacks(self, pid: int, seconds: float = 1.0) -> list[tuple[Stack, int]]:
        """Different user stacks of a process in the next `seconds`, and how often."""
        aggregation = Aggregation(self.pins.identity, self.pins.maps)
        aggregation.beat()
        aggregation.empty(aggregation.flip())
        time.sleep(seconds)
        drained = aggregation.flip()
        aggregation.empty(drained)
        counts: Counter[int] = Counter()
        for sample in drained.window.samples:
            if sample.process.pid == pid and sample.user_stack:
                counts[sample.user_stack] += sample.count
        return [(drained.window.stacks[key], count) for key, count in counts.items()]

    def counters(self) -> dict[str, int]:
        return decode.counters(self.pins.maps["counters"].lookup_per_cpu(bytes(4)))


def pack(path: str | Path) -> Packed:
    fd = os.open(path, os.O_RDONLY)
    try:
        return packed(Source.of_descriptor(fd))
    finally:
        os.close(fd)


def ends(stacks: list[tuple[Stack, int]]) -> Counter[StackEnd]:
    """How stacks ended, to samples."""
    found: Counter[StackEnd] = Counter()
    for stack, count in stacks:
        found[stack.end] += count
    return found


@contextlib.contextmanager
def sampling(stand: Stand, frequency: int = 997) -> Iterator[Unwinding]:
    """Loads the programs as the agent does, without a collector."""
    stand.configure(frequency=frequency, window_seconds=10)
    subprocess.run(stand.command(), check=True, timeout=60)
    pins = open_newest(str(stand.layout.pins))
    try:
        maps = pins.maps
        tables = Loaded(maps["executables"], maps["file_tables"], maps["unwind_chunks"])
        yield Unwinding(pins, tables)
    finally:
        mounts.stop_sampling(stand.layout.pins)
        for item in pins.maps.values():
            os.close(item.fd)
        for fd in (*pins.iterators.values(), pins.directory):
            os.close(fd)
