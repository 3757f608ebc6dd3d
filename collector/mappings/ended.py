# SPDX-License-Identifier: Apache-2.0
"""Elements of `ended_ranges`: what a sampled process had mapped when it ended. Bytes -> Ended, or
EndedError."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from collector.model import ProcessId
from libbpf import abi

PAGE = 4096
LENGTH_BITS = 19
_KEY = struct.Struct(abi.struct_format("ranges_key"))
_RANGES = struct.Struct(abi.struct_format("ranges"))
_HEADER = struct.Struct("=IIQQ2IIIIIIIQIIQQII")
_CHUNK = abi.RANGES_PER_CHUNK
_FILE_WORDS, _RECENT_WORDS = 3, 4


class EndedError(ValueError):
    """The bytes are not an element of ended_ranges."""


@dataclass(frozen=True, slots=True)
class Range:
    """[start, end) maps the file of this number from `offset` on; addresses and offset in bytes."""

    start: int
    end: int
    offset: int
    file: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A program run that is over. The ranges are sorted and disjoint; cgroup_id as in Process."""

    id: ProcessId
    parent_pid: int
    uid: int
    cgroup_id: int
    ranges: tuple[Range, ...]


def ended(key: bytes, value: bytes) -> Ended:
    if len(key) != _KEY.size or len(value) != _RANGES.size:
        raise EndedError(f"key of {len(key)} bytes, value of {len(value)}")
    tgid, _chunk, start_time, exec_id = _KEY.unpack(key)
    (
        _tgid, active, _start, _exec, count0, count1, head, tail, _refused, _walked, _sampled,
        parent, cgroup, uid, *_
    ) = _HEADER.unpack_from(value)  # fmt: skip
    words = _RANGES.unpack(value)[_HEADER_WORDS:]
    found: list[Range] = []
    table = active & 1
    for index in range(min((count0, count1)[table], _CHUNK)):
        at = 2 * _CHUNK + (table * _CHUNK + index) * _FILE_WORDS
        _lay(found, words[table * _CHUNK + index], *words[at : at + 2])
    recent = 2 * _CHUNK * (1 + _FILE_WORDS)
    for number in range(tail, tail + min((head - tail) & 0xFFFFFFFF, abi.RECENT_RANGES)):
        at = recent + number % abi.RECENT_RANGES * _RECENT_WORDS
        _lay(found, *words[at : at + 3])
    found.sort(key=lambda one: one.start)
    return Ended(ProcessId(tgid, start_time, exec_id), parent, uid, cgroup, tuple(found))


_HEADER_WORDS = len(_HEADER.unpack(bytes(_HEADER.size)))


def _lay(found: list[Range], word: int, file: int, page_offset: int) -> None:
    """Adds the range over what is there: the later ones were mapped over the earlier."""
    start = (word >> LENGTH_BITS) * PAGE
    end = start + (word & (1 << LENGTH_BITS) - 1) * PAGE
    if start == end:
        return
    covered = [one for one in found if one.start < end and start < one.end]
    for one in covered:
        found.remove(one)
        if one.start < start:
            found.append(Range(one.start, start, one.offset, one.file))
        if end < one.end:
            found.append(Range(end, one.end, one.offset + end - one.start, one.file))
    found.append(Range(start, end, page_offset * PAGE, file))
