# SPDX-License-Identifier: Apache-2.0
"""The values that flow from stage to stage of the collector.

Every stage imports this module and none of its neighbours. Times are integers in
nanoseconds; `pid` is what the kernel calls tgid, at the agent's pid namespace level.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One program run by one process: survives neither pid reuse nor exec.

    start_time is task_struct.start_boottime of the thread-group leader (ns since boot),
    exec_id its self_exec_id, which the kernel raises at every execve (linux 5.7 and later).
    """

    pid: int
    start_time: int
    exec_id: int


@dataclass(frozen=True, slots=True)
class Process:
    """What the `task` iterator says about one process."""

    id: ProcessId
    parent_pid: int
    uid: int
    comm: str
    cgroup_id: int
    kernel_thread: bool


class MappingFlag(IntFlag):
    """Properties of an executable mapping; values as in bpf/abi.h."""

    WRITABLE = 1
    SHARED = 2
    ANONYMOUS = 4
    VDSO = 8
    PATH_TRUNCATED = 16


@dataclass(frozen=True, slots=True)
class Mapping:
    """An executable range of a process: [start, end) backed by `path` from `offset` on.

    device is in os.stat's st_dev encoding; fs_magic is the super block's s_magic; file is the
    kernel side's number for what is mapped (bpf/file.h), 0 for anonymous memory.
    """

    start: int
    end: int
    offset: int
    device: int
    inode: int
    fs_magic: int
    flags: MappingFlag
    path: str
    file_size: int = 0
    file: int = 0


class StackEnd(IntEnum):
    """Why a user stack ends where it does; values as in bpf/abi.h."""

    COMPLETE = 0
    TRUNCATED = 1
    OUTSIDE_MAPPINGS = 2
    UNMAPPED_PROCESS = 3
    UNREADABLE = 4
    KERNEL = 5
    BAD_FRAME_POINTER = 6
    NO_TABLE = 7
    UNSUPPORTED_ROW = 8
    TABLE_CHANGED = 9
    STUCK = 10
    LOST_FRAME_POINTER = 11
    COMPAT = 12


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses, leaf first: virtual for user stacks, signed offsets from _text for kernel ones."""

    addresses: tuple[int, ...]
    end: StackEnd


@dataclass(frozen=True, slots=True)
class RawSample:
    """One row of the aggregation: `count` samples of the same process, thread and stacks.

    user_stack and kernel_stack are keys of Window.stacks; 0 means there was none.
    """

    process: ProcessId
    tid: int
    comm: str
    user_stack: int
    kernel_stack: int
    count: int


@dataclass(frozen=True, slots=True)
class Window:
    """What one flip of the aggregation brought.

    generation tells one set of pins from every other that there ever was, whatever number it
    was published under; sequence counts its windows from 0.
    """

    generation: int
    sequence: int
    time_ns: int
    duration_ns: int
    samples: tuple[RawSample, ...]
    stacks: dict[int, Stack]


@dataclass(frozen=True, slots=True)
class Written:
    """The window that is safe in the spool and younger than all others there."""

    generation: int
    sequence: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Executable:
    """A file known by build id, or a bracketed name when there is no file to read.

    build_id is lower-case hex; empty exactly when name is bracketed, such as
    "[kernel.kallsyms]", "[vdso]" or "[exited]".
    """

    name: str
    build_id: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One resolved address. `address` is an ELF virtual address, 0 where there is none;
    `function` is empty when no symbol covers it; `filename` is the function's file, if known."""

    executable: Executable
    address: int
    function: str
    filename: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """All samples of one label set in one window: (frames leaf first, count) pairs."""

    labels: tuple[tuple[str, str], ...]
    samples: tuple[tuple[tuple[Frame, ...], int], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """The samples of one window, ready to encode. period_ns is 1e9 / Hz."""

    time_ns: int
    duration_ns: int
    period_ns: int
    series: tuple[Series, ...]

    @property
    def samples(self) -> int:
        return sum(count for series in self.series for _, count in series.samples)
