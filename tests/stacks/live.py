# SPDX-License-Identifier: Apache-2.0
"""Walks a stopped thread with the unwinder of bpf/, from the files and the memory that it has."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from collector.elf.source import ElfError, Source
from collector.unwind.chunks import Packed, packed
from collector.unwind.x86_64 import X86_64
from tests.stacks import libdw
from tests.stacks.stopped import Mapping, Stopped
from tests.stacks.walker import FILE_VDSO, Case, Range, Walked, Walker, flags

RED_ZONE = 128
MOST_BYTES = 65536
PAGE_SIZE = 4096
"""The walk reads up to a page's end, so no page may be there in part."""
CODE_BYTES = 16
MOST_ROUNDS = 300


@dataclass
class Tables:
    """Tables of files, each made once."""

    _made: dict[tuple[str, int, int], Packed | None] = field(default_factory=dict)

    def of(self, stopped: Stopped, mapping: Mapping) -> Packed | None:
        """None: there is no table for it."""
        vdso = mapping.path == "[vdso]"
        if not vdso and not mapping.inode:
            return None
        key = ("", 0, 0) if vdso else (mapping.device, mapping.inode, 1)
        if key not in self._made:
            self._made[key] = self._make(stopped, mapping, vdso)
        return self._made[key]

    def _make(self, stopped: Stopped, mapping: Mapping, vdso: bool) -> Packed | None:
        try:
            if vdso:
                image = stopped.read(mapping.start, mapping.end - mapping.start)
                return packed(Source.of_bytes(image))
            with image_of(stopped.pid, mapping).open("rb") as stream:
                return packed(Source.of_descriptor(stream.fileno()))
        except (ElfError, OSError):
            return None


def interrupted(stopped: Stopped, frames: list[libdw.Frame], index: int) -> bool:
    """Whether a signal interrupted that frame, so that what it called is the trampoline. The leaf
    was interrupted by us."""
    if index == 0 or not frames[index].interrupted:
        return False
    below = frames[index - 1].address
    around = stopped.read(below - len(X86_64.trampoline), 2 * len(X86_64.trampoline))
    return X86_64.trampoline in around


def addresses(stopped: Stopped, frames: list[libdw.Frame]) -> list[int]:
    """As the kernel side has them: what a signal interrupted is 1 more."""
    return [frame.address + interrupted(stopped, frames, i) for i, frame in enumerate(frames)]


def image_of(pid: int, mapping: Mapping) -> Path:
    """What a mapping maps, as root can open it, whatever its path means here."""
    by_address = Path(f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}")
    return by_address if os.geteuid() == 0 else Path(mapping.path)


@dataclass
class LiveWalk:
    """What a walk of a stopped thread needed: `files` are numbers by (device, inode)."""

    stopped: Stopped
    ranges: list[Range]
    mappings: dict[int, Mapping]
    """By file number, one of each."""
    packed: dict[int, Packed | None]
    areas: list[tuple[int, bytes]]

    def case(self) -> Case:
        """As far as it is known by now."""
        registers = self.stopped.registers
        tables = {file: (file + 1, made.page_shift) for file, made in self.packed.items() if made}
        chunks = {
            (file + 1, page): body
            for file, made in self.packed.items()
            if made
            for page, body in made.chunks
        }
        how = flags(in_call=registers.in_call, gave_zero=registers.gave_zero)
        return Case(
            registers.ip, registers.sp, registers.bp, how, self.ranges, tables, chunks, self.areas
        )

    def file_of(self, address: int) -> int:
        """0: none."""
        return next((r.file for r in self.ranges if r.start <= address < r.end), 0)

    def is_code(self, address: int) -> bool:
        """Whether it lies in an executable mapping."""
        return any(r.start <= address < r.end for r in self.ranges)

    def add_memory(self, address: int) -> bool:
        """The memory from there to the mapping's end, as far as that is worth it."""
        mapping = self.stopped.mapping_at(address)
        if mapping is None or any(start <= address < start + len(d) for start, d in self.areas):
            return False
        wanted = CODE_BYTES if "x" in mapping.protection else MOST_BYTES
        start = max(mapping.start, address - (RED_ZONE if wanted == MOST_BYTES else 0)) & ~7
        end = mapping.end
        if wanted == MOST_BYTES:
            end = min(end, (start + MOST_BYTES) // PAGE_SIZE * PAGE_SIZE)
        data = self.stopped.read(start, min(wanted, end - start))
        self.areas.append((start, data))
        return bool(data)

    def add_tables(self, tables: Tables, addresses: Iterable[int]) -> bool:
        """Those of the files that these addresses lie in."""
        files = {self.file_of(address) for address in addresses} - {0} - set(self.packed)
        for file in files:
            self.packed[file] = tables.of(self.stopped, self.mappings[file])
        return any(self.packed[file] for file in files)


def _begin(stopped: Stopped) -> LiveWalk:
    numbers: dict[tuple[str, int], int] = {}
    ranges, mappings = [], {}
    for mapping in stopped.mappings:
        if "x" not in mapping.protection or mapping.path == "[vsyscall]":
            continue
        file = 0
        if mapping.path == "[vdso]":
            file = FILE_VDSO
        elif mapping.inode:
            key = mapping.device, mapping.inode
            file = numbers.setdefault(key, FILE_VDSO + 1 + len(numbers))
        if file:
            mappings.setdefault(file, mapping)
        ranges.append(Range(mapping.start, mapping.end, file, mapping.offset))
    walk = LiveWalk(stopped, ranges, mappings, {}, [])
    walk.add_memory(stopped.registers.sp)
    return walk


def walk_stopped(walker: Walker, stopped: Stopped, tables: Tables) -> tuple[Walked, LiveWalk]:
    """Walks again with more of tables and memory until it wants no more of either."""
    live = _begin(stopped)
    for _ in range(MOST_ROUNDS):
        walked = walker.walk(live.case())
        if live.add_tables(tables, [*walked.frames, stopped.registers.ip]):
            continue
        if not walked.unreadable or not live.add_memory(walked.unreadable):
            return walked, live
    raise AssertionError("a walk that never ends")
