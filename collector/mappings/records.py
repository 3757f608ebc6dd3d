# SPDX-License-Identifier: Apache-2.0
"""Output of the iterators `task_vma` and `task`: bytes -> records, or RecordError.

A walk is complete only with its end record: the kernel drops what does not fit and starts over
at the next read, so duplicates are allowed and a missing end is not.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator

from collector.model import Mapping, MappingFlag, Process, ProcessId
from libbpf import abi

_HEADER = struct.Struct("=II")
_MAPPING = struct.Struct(abi.struct_format("mapping_record"))
_TASK = struct.Struct(abi.struct_format("task_record"))
_FILE = struct.Struct("=Q")
_FILE_OFFSET = abi.fields("mapping_record")["file"][0]
_KNOWN_FLAGS = sum(MappingFlag)
MINOR_BITS = 20


class RecordError(ValueError):
    """The bytes are not what an iterator of ours writes, or the walk was cut short."""


def split(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, whole record) of each record; ends at the end record, which must be there."""
    position = 0
    while position + _HEADER.size <= len(raw):
        kind, size = _HEADER.unpack_from(raw, position)
        if size < _HEADER.size or position + size > len(raw):
            raise RecordError(f"record of {size} bytes at {position} of {len(raw)}")
        if kind == abi.RECORD_END:
            return
        yield kind, raw[position : position + size]
        position += size
    raise RecordError("the walk has no end record")


def mappings(raw: bytes) -> dict[ProcessId, list[Mapping]]:
    """Executable mappings by process, each list sorted by start and free of duplicates."""
    found: dict[ProcessId, dict[int, Mapping]] = {}
    for kind, record in split(raw):
        if kind != abi.RECORD_MAPPING or len(record) < _MAPPING.size:
            raise RecordError(f"record kind {kind} of {len(record)} bytes in a walk over mappings")
        process, mapping = _mapping(record)
        found.setdefault(process, {})[mapping.start] = mapping
    return {
        process: [by_start[start] for start in sorted(by_start)]
        for process, by_start in found.items()
    }


def mapped_files(raw: bytes) -> dict[int, tuple[ProcessId, Mapping, int]]:
    """By file number: a process that maps it, one of its mappings, and how many there are.

    Only what is met for the first time is looked at closely, and bytes cut short are no error:
    there may be hundreds of thousands.
    """
    first: dict[int, tuple[ProcessId, Mapping]] = {}
    counts: dict[int, int] = {}
    position, last = 0, len(raw) - _MAPPING.size
    while position <= last:
        kind, size = _HEADER.unpack_from(raw, position)
        if kind != abi.RECORD_MAPPING or not _MAPPING.size <= size <= len(raw) - position:
            break
        (file,) = _FILE.unpack_from(raw, position + _FILE_OFFSET)
        if file in counts:
            counts[file] += 1
        elif file:
            counts[file] = 1
            first[file] = _mapping(raw[position : position + size])
        position += size
    return {file: (*found, counts[file]) for file, found in first.items()}


def tasks(raw: bytes) -> list[Process]:
    """Processes, one per thread group."""
    found: dict[ProcessId, Process] = {}
    for kind, record in split(raw):
        if kind != abi.RECORD_TASK or len(record) != _TASK.size:
            raise RecordError(f"record kind {kind} of {len(record)} bytes in a walk over tasks")
        process = _task(record)
        found[process.id] = process
    return list(found.values())


def _mapping(record: bytes) -> tuple[ProcessId, Mapping]:
    (
        _kind, _size, tgid, flags, start_time, exec_id, start, end, offset,
        inode, file_size, magic, file, device, _reserved,
    ) = _MAPPING.unpack_from(record)  # fmt: skip
    mapping = Mapping(
        start=start,
        end=end,
        offset=offset,
        device=os.makedev(device >> MINOR_BITS, device & (1 << MINOR_BITS) - 1),
        inode=inode,
        fs_magic=magic,
        flags=MappingFlag(flags & _KNOWN_FLAGS),
        path=sys.intern(record[_MAPPING.size :].decode("utf-8", "surrogateescape")),
        file_size=file_size,
        file=file,
    )
    return ProcessId(tgid, start_time, exec_id), mapping


def _task(record: bytes) -> Process:
    (
        _kind, _size, tgid, _tid, start_time, exec_id, cgroup, parent, uid,
        kernel_thread, _reserved, comm,
    ) = _TASK.unpack(record)  # fmt: skip
    return Process(
        id=ProcessId(tgid, start_time, exec_id),
        parent_pid=parent,
        uid=uid,
        comm=comm.split(b"\0", 1)[0].decode("utf-8", "surrogateescape"),
        cgroup_id=cgroup,
        kernel_thread=bool(kernel_thread),
    )
