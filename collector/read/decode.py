# SPDX-License-Identifier: Apache-2.0
"""Keys and values of the pinned maps into the model. Layouts are those of bpf/abi.h."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from collector.model import ProcessId, RawSample, Stack, StackEnd
from libbpf import abi

_SAMPLE_KEY = struct.Struct(abi.struct_format("sample_key"))
_STACK_HEADER = struct.Struct("=II")
_COUNT = struct.Struct("=Q")
_CONTROL = struct.Struct(abi.struct_format("control"))
_COUNTERS = struct.Struct(abi.struct_format("counters"))
_EVENT = struct.Struct(abi.struct_format("event"))
_ENDS = {int(end): end for end in StackEnd}

COUNTER_NAMES = abi.counter_names()
EVENT_SIZE = _EVENT.size


def text(raw: bytes) -> str:
    """A comm as the kernel stores it: up to the NUL; bytes that are no UTF-8 survive escaped."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def sample(key: bytes, value: bytes) -> RawSample:
    """One element of samples_N."""
    tgid, tid, start_time, exec_id, user, kernel, comm = _SAMPLE_KEY.unpack(key)
    process = ProcessId(tgid, start_time, exec_id)
    return RawSample(process, tid, text(comm), user, kernel, _COUNT.unpack(value)[0])


def stack(value: bytes) -> Stack:
    """One value of stacks_N; kernel stacks hold signed offsets."""
    length, end = _STACK_HEADER.unpack_from(value)
    length = min(length, abi.MAX_FRAMES)
    kind = _ENDS.get(end, StackEnd.UNREADABLE)
    letter = "q" if kind is StackEnd.KERNEL else "Q"
    return Stack(struct.unpack_from(f"={length}{letter}", value, _STACK_HEADER.size), kind)


def control(heartbeat_ns: int, sequence: int) -> bytes:
    return _CONTROL.pack(heartbeat_ns, sequence)


def control_of(raw: bytes) -> tuple[int, int]:
    """Heartbeat and sequence."""
    heartbeat, sequence = _CONTROL.unpack(raw)
    return int(heartbeat), int(sequence)


def counters(per_cpu: list[bytes]) -> dict[str, int]:
    """Sum over the CPUs, by field name."""
    columns = zip(*map(_COUNTERS.unpack, per_cpu), strict=True)
    return dict(zip(COUNTER_NAMES, map(sum, columns), strict=True))


@dataclass(frozen=True, slots=True)
class Event:
    """What the ring buffer told of a process; kind is one of libbpf.abi.EVENT_*."""

    kind: int
    process: ProcessId


def events(raw: bytes) -> list[Event]:
    whole = len(raw) - len(raw) % _EVENT.size
    return [
        Event(kind, ProcessId(tgid, start_time, exec_id))
        for kind, tgid, start_time, exec_id in _EVENT.iter_unpack(raw[:whole])
    ]
