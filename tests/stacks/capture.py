# SPDX-License-Identifier: Apache-2.0
"""A stopped thread and two walks of it, as a recording."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from collector.unwind.chunks import Packed
from collector.unwind.rows import Cfa, Rule, Rules, Saved
from tests.stacks import libdw
from tests.stacks.live import LiveWalk, image_of, interrupted
from tests.stacks.recording import (
    File,
    Golden,
    Page,
    RecordedMapping,
    Recording,
    scrubbed,
    scrubbed_word,
)
from tests.stacks.scenarios import Scenario
from tests.stacks.stopped import Mapping, Stopped
from tests.stacks.walker import UNWIND_PART_BITS, Walked

HEAD = struct.Struct("=8H")
RULE = struct.Struct("=BBhi")


@dataclass(frozen=True)
class Stand:
    """One stack, walked by libdw and by us."""

    oracle: libdw.Stack
    walked: Walked
    live: LiveWalk

    @property
    def words(self) -> str:
        """`file section function;` for each of libdw's frames, leaf first."""
        return "".join(f"{self._word(frame)};" for frame in self.oracle.frames)

    def _word(self, frame: libdw.Frame) -> str:
        stopped = self.live.stopped
        mapping = stopped.mapping_at(frame.address)
        if mapping is None:
            return f"- - {frame.name}"
        return f"{name_of(mapping)} {section_at(stopped, mapping, frame.address)} {frame.name}"


def name_of(mapping: Mapping) -> str:
    """Without directories: where a file lies says something of a machine."""
    return mapping.path.rpartition("/")[2] or "-"


@lru_cache
def _headers(key: tuple[str, int], path: Path) -> tuple[str, list[tuple[str, int, int]]]:
    """Build id, and name, offset and size of each section."""
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            sections = [(s.name, s["sh_offset"], s["sh_size"]) for s in elf.iter_sections()]
            note = elf.get_section_by_name(".note.gnu.build-id")
            notes = list(note.iter_notes()) if note else []
            return (notes[0]["n_desc"] if notes else ""), sections
    except (OSError, ELFError):
        return "", []


def _headers_of(stopped: Stopped, mapping: Mapping) -> tuple[str, list[tuple[str, int, int]]]:
    if not mapping.inode:
        return "", []
    return _headers((mapping.device, mapping.inode), image_of(stopped.pid, mapping))


def section_at(stopped: Stopped, mapping: Mapping, address: int) -> str:
    """Name of the section, "-" where there is none."""
    offset = address - mapping.start + mapping.offset
    _, sections = _headers_of(stopped, mapping)
    return next((name for name, at, size in sections if name and at <= offset < at + size), "-")


def _page(packed: Packed, number: int, rules: Rules) -> Page:
    bodies = dict(packed.chunks)
    begin, size = number << packed.page_shift, 1 << packed.page_shift
    offsets: list[int] = []
    numbers: list[int] = []
    for part in range(1 << UNWIND_PART_BITS):
        body = bodies.get(number << UNWIND_PART_BITS | part)
        if body is None:
            break
        count = HEAD.unpack_from(body)[0]
        data = body[HEAD.size :]
        starts = struct.unpack_from(f"={count}H", data)
        offsets += [begin + start for start in starts]
        numbers += [rules.number(_rule(data, place)) for place in data[2 * count : 3 * count]]
    return Page(begin, size, offsets, numbers)


def _rule(data: bytes, place: int) -> Rule:
    cfa, frame, frame_offset, offset = RULE.unpack_from(data, len(data) - 8 * (place + 1))
    return Rule(Cfa(cfa), offset, Saved(frame), frame_offset)


def _file(stand: Stand, number: int, addresses: Iterable[int]) -> File:
    live = stand.live
    mapping = live.mappings[number]
    build_id, _ = _headers_of(live.stopped, mapping)
    packed = live.packed.get(number)
    if packed is None:
        return File(name_of(mapping), build_id, (), [])
    shift = packed.page_shift
    wanted = {page >> UNWIND_PART_BITS for t, page in stand.walked.chunks if t == number + 1}
    for address in addresses:
        for r in live.ranges:
            if r.file == number and r.start <= address < r.end:
                wanted.add((address - r.start + r.offset) >> shift)
    rules = Rules()
    pages = [_page(packed, page, rules) for page in sorted(wanted)]
    return File(name_of(mapping), build_id, rules.all(), [page for page in pages if page.offsets])


def recording(scenario: Scenario, stand: Stand) -> Recording:
    """Golden frames are libdw's, up to the first that is data."""
    live, stopped = stand.live, stand.live.stopped
    frames = list(itertools.takewhile(lambda f: live.is_code(f.address), stand.oracle.frames))
    numbers = sorted(live.mappings)
    indexes = {number: index for index, number in enumerate(numbers)}
    addresses = [frame.address - (not frame.interrupted) for frame in frames]
    areas = [(at, at + len(data)) for at, data in live.areas]
    keep = areas + [(r.start, r.end) for r in live.ranges]
    code = [(r.start, r.end) for r in live.ranges]
    memory = [
        (at, data if any(low <= at < high for low, high in code) else scrubbed(data, keep))
        for at, data in live.areas
    ]
    registers = stopped.registers
    return Recording(
        program=scenario.program,
        situation=scenario.situation,
        recipe=scenario.recipe,
        ip=registers.ip,
        sp=registers.sp,
        bp=scrubbed_word(registers.bp, keep),
        in_call=registers.in_call,
        gave_zero=registers.gave_zero,
        files=[_file(stand, number, addresses) for number in numbers],
        mappings=[
            RecordedMapping(r.start, r.end, r.offset, indexes.get(r.file)) for r in live.ranges
        ],
        memory=memory,
        golden=[
            _golden(stopped, frame, interrupted(stopped, frames, index))
            for index, frame in enumerate(frames)
        ],
        golden_end=stand.oracle.error or "complete",
    )


def _golden(stopped: Stopped, frame: libdw.Frame, by_signal: bool) -> Golden:
    mapping = stopped.mapping_at(frame.address)
    if mapping is None or not (mapping.inode or mapping.path == "[vdso]"):
        return Golden("", frame.address, frame.name, by_signal)
    offset = frame.address - mapping.start + mapping.offset
    return Golden(name_of(mapping), offset, frame.name, by_signal)
