# SPDX-License-Identifier: Apache-2.0
"""Processes that stand still: their registers, mappings and memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PTRACE_GETREGS, PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 12, 17, 0x4206, 0x4207
WALL = 0x40000000  # __WALL: threads too
WAIT_SECONDS = 10
SYSCALL = b"\x0f\x05"

# struct user_regs_struct, sys/user.h
BP, AX, ORIG_AX, IP, SP, WORDS = 4, 10, 15, 16, 19, 27

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class Registers(NamedTuple):
    """in_call: within a system call, so that ip is behind the instruction that made it, as
    bpf/registers_x86_64.h has it. gave_zero: what it, or any call, would have for its result."""

    ip: int
    sp: int
    bp: int
    in_call: bool
    gave_zero: bool


class Mapping(NamedTuple):
    """One line of /proc/PID/maps; path "" is anonymous."""

    start: int
    end: int
    protection: str
    offset: int
    device: str
    inode: int
    path: str


@dataclass(frozen=True)
class Stopped:
    """A thread of a process that stands still."""

    pid: int
    tid: int
    registers: Registers
    mappings: list[Mapping]

    def read(self, address: int, size: int) -> bytes:
        """Less, or nothing, where there is no more."""
        return memory_of(self.pid, address, size)

    def mapping_at(self, address: int) -> Mapping | None:
        """The mapping that an address lies in."""
        return next((m for m in self.mappings if m.start <= address < m.end), None)


def memory_of(pid: int, address: int, size: int) -> bytes:
    """Less, or nothing, where there is no more."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        try:
            return os.pread(memory.fileno(), size, address)
        except OSError:
            return b""


def _call(request: int, tid: int, data: object = None) -> None:
    if _libc.ptrace(request, tid, None, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace({request}): {os.strerror(error)}")


def _registers(tid: int) -> Registers:
    words = (ctypes.c_ulonglong * WORDS)()
    _call(PTRACE_SEIZE, tid)
    try:
        _call(PTRACE_INTERRUPT, tid)
        os.waitpid(tid, WALL)
        _call(PTRACE_GETREGS, tid, ctypes.addressof(words))
    finally:
        with contextlib.suppress(OSError):
            _call(PTRACE_DETACH, tid)
    behind = memory_of(tid, words[IP] - len(SYSCALL), len(SYSCALL)) == SYSCALL
    in_call = behind and ctypes.c_longlong(words[ORIG_AX]).value >= 0
    return Registers(words[IP], words[SP], words[BP], in_call, words[AX] == 0)


def mappings_of(pid: int) -> list[Mapping]:
    """All mappings of a process."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, protection, offset, device, inode, *path = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in addresses.split("-"))
        path_name = path[0].removesuffix(" (deleted)") if path else ""
        found.append(
            Mapping(start, end, protection, int(offset, 16), device, int(inode), path_name)
        )
    return found


def threads_of(pid: int) -> dict[int, str]:
    """Names of the threads by tid, in order of their making."""
    tids = sorted(int(path.name) for path in Path(f"/proc/{pid}/task").iterdir())
    return {tid: Path(f"/proc/{pid}/task/{tid}/comm").read_text().strip() for tid in tids}


def running_threads(pid: int) -> list[int]:
    """Those that have or want a CPU."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    split = [stat.rpartition(")") for stat in stats]
    return [int(head.split()[0]) for head, _, rest in split if rest.split()[0] == "R"]


def _stands(pid: int) -> bool:
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] in "Tt" for stat in stats)


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """Stops all threads of a process for as long as it lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not _stands(pid):
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {pid} does not stop")
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def look_at(pid: int, tid: int | None = None) -> Stopped:
    """A thread, the first if not said which, of a process that stands still."""
    tid = tid or pid
    return Stopped(pid, tid, _registers(tid), mappings_of(pid))
