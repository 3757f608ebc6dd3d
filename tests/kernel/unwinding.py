# SPDX-License-Identifier: Apache-2.0
"""The kernel side of unwinding without a collector: real programs, tables put in by the test."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from collector.elf.source import Source
from collector.feed.loaded import Loaded
from collector.mappings import records
from collector.model import Mapping, Stack, StackEnd
from collector.read import decode
from collector.read.aggregation import Aggregation
from collector.read.pins import Pins, open_newest
from collector.unwind.chunks import Packed, packed
from collector.unwind.rows import Rule
from libbpf import abi, iterators
from supervisor import mounts
from tests.loader.stand import Stand

DEADLINE = 20.0


@dataclass
class Unwinding:
    """A generation that samples, and what is loaded there."""

    pins: Pins
    loaded: Loaded
    identities: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def mappings(self, pid: int) -> list[Mapping]:
        """A process's executable mappings; to read them fills the kernel's ranges too."""
        while True:
            raw = iterators.read(self.pins.iterators["task_vma"], "task_vma", tid=pid)
            if found := records.mappings(raw):
                return next(iter(found.values()))
            time.sleep(0.01)  # it has not run its program yet

    def table_of(self, pid: int) -> dict[str, int]:
        """Makes and loads a table for each file that the process has mapped: path to number."""
        files = {one.path: one.file for one in self.mappings(pid) if one.path.startswith("/")}
        return {path: self.load(file, pack(path)) for path, file in files.items()}

    def load(self, file: int, made: Packed) -> int:
        """Makes `made` the table of a file, in place of the one it had; its number."""
        self.unload(file)
        identity = next(self.identities).to_bytes(16, "little")
        table = self.loaded.load(identity, made.page_shift, made.rows, made.chunks)
        self.loaded.know(file, table)
        return table

    def unload(self, file: int) -> None:
        if old := self.loaded.table_of(file):
            self.loaded.unload([old])

    def stacks(self, pid: int, samples: int = 500) -> Counter[Stack]:
        """User stacks of a process from now on, and how often; as many samples or more."""
        aggregation = Aggregation(self.pins.identity, self.pins.maps)
        aggregation.beat()
        aggregation.empty(aggregation.flip())
        counts: Counter[Stack] = Counter()
        end = time.monotonic() + DEADLINE
        while counts.total() < samples and time.monotonic() < end:
            time.sleep(0.05)
            drained = aggregation.flip()
            aggregation.empty(drained)
            for sample in drained.window.samples:
                if sample.process.pid == pid and sample.user_stack:
                    counts[drained.window.stacks[sample.user_stack]] += sample.count
        return counts

    def counters(self) -> dict[str, int]:
        return decode.counters(self.pins.maps["counters"].lookup_per_cpu(bytes(4)))


def everywhere(mapping: Mapping, body: bytes) -> Packed:
    """A table that says the same in each page of 64 KiB that `mapping` reaches into."""
    first, last = mapping.offset >> 16, mapping.offset + mapping.end - mapping.start - 1 >> 16
    pages = range(first, last + 1)
    return Packed(16, [(page << abi.UNWIND_PART_BITS, body) for page in pages], len(pages), 0, 0)


def chunk_of(rows: list[tuple[int, Rule]], parts: tuple[int, ...] = ()) -> bytes:
    """struct unwind_chunk without its keys: each row with a rule of its own."""
    head = struct.pack("=8H", len(rows), *parts, *[0] * (abi.UNWIND_PARTS - 1 - len(parts)))
    starts = b"".join(struct.pack("=H", start) for start, _ in rows)
    rules = b"".join(map(raw_rule, reversed([rule for _, rule in rows])))
    front = starts + bytes(range(len(rows)))
    return head + front.ljust(abi.UNWIND_DATA - len(rules), b"\0") + rules


def raw_rule(rule: Rule) -> bytes:
    return struct.pack("=BBhi", rule.cfa, rule.frame, rule.frame_offset, rule.offset)


def pack(path: str | Path) -> Packed:
    fd = os.open(path, os.O_RDONLY)
    try:
        return packed(Source.of_descriptor(fd))
    finally:
        os.close(fd)


def ends(stacks: Counter[Stack]) -> Counter[StackEnd]:
    """How stacks ended, to samples."""
    found: Counter[StackEnd] = Counter()
    for stack, count in stacks.items():
        found[stack.end] += count
    return found


@contextlib.contextmanager
def sampling(stand: Stand, frequency: int = 997, **settings: object) -> Iterator[Unwinding]:
    """Loads the programs as the agent does, without a collector."""
    stand.configure(frequency=frequency, window_seconds=10, **settings)
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
