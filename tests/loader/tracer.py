# SPDX-License-Identifier: Apache-2.0
"""A ptrace(2) tracer: stops a process at the entry of each system call and asks what to do.

x86-64, as the BPF objects are. Numbers are those of asm/unistd_64.h and linux/ptrace.h.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

BPF, PERF_EVENT_OPEN = 321, 298
MKDIR, RMDIR, RENAME, UNLINK = 83, 84, 82, 87
CHMOD, CHOWN = 90, 92
CAPGET, CAPSET = 125, 126
OBJ_PIN, PROG_LOAD, LINK_CREATE = 6, 5, 28  # first arguments of bpf(2)

_TRACEME, _POKEUSER, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 6, 24, 0x4200, 0x420E
_OPTIONS = 1 | 1 << 20  # TRACESYSGOOD, EXITKILL
_ENTRY = 1
_INFO = struct.Struct("=B3xIQQ7Q")
_RAX, _ORIG_RAX = 80, 120  # offsets in struct user
_SYSCALL_STOP = signal.SIGTRAP | 0x80

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Call(NamedTuple):
    """A system call about to begin: number and six arguments."""

    pid: int
    number: int
    arguments: tuple[int, ...]

    @property
    def command(self) -> int | None:
        """Of bpf(2): which command."""
        return self.arguments[0] if self.number == BPF else None


class Do(Enum):
    """What happens to the call; None lets it pass."""

    KILL = "kill the process instead"


@dataclass(frozen=True)
class Fail:
    """The call is not made; the process sees it fail with this errno."""

    errno: int


@dataclass(frozen=True)
class Ended:
    """Exit code, negative for a signal, and what the process printed."""

    code: int
    output: str


def trace(argv: Sequence[str], at: Callable[[Call], Do | Fail | None] = lambda _: None) -> Ended:
    """Runs argv to its end; `at` is asked at the entry of each of its system calls."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _exec(argv, writer)
    os.close(writer)
    try:
        code = _watch(pid, at)
        with os.fdopen(reader, "rb", closefd=False) as stream:
            return Ended(code, stream.read().decode(errors="replace"))
    finally:
        os.close(reader)


def _exec(argv: Sequence[str], output: int) -> None:
    try:
        os.setsid()
        os.chdir("/")
        os.umask(0o027)
        os.dup2(output, 1)
        os.dup2(output, 2)
        _ptrace(_TRACEME, 0, 0, 0)
        os.execve(argv[0], list(argv), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    finally:
        os._exit(127)


def _watch(pid: int, at: Callable[[Call], Do | Fail | None]) -> int:
    _, status = os.waitpid(pid, 0)  # stopped by its own execve
    if not os.WIFSTOPPED(status):
        return os.waitstatus_to_exitcode(status)
    _ptrace(_SETOPTIONS, pid, 0, _OPTIONS)
    failing: Fail | None = None
    deliver = 0
    while True:
        _ptrace(_SYSCALL, pid, 0, deliver)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        stop = os.WSTOPSIG(status)
        deliver = 0 if stop in (_SYSCALL_STOP, signal.SIGTRAP) else stop
        if stop != _SYSCALL_STOP:
            continue
        call = _entered(pid)
        if call is None:
            if failing is not None:
                _ptrace(_POKEUSER, pid, _RAX, -failing.errno & (1 << 64) - 1)
                failing = None
            continue
        answer = at(call)
        if answer is Do.KILL:
            os.kill(pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if isinstance(answer, Fail):
            failing = answer
            _ptrace(_POKEUSER, pid, _ORIG_RAX, (1 << 64) - 1)


def _entered(pid: int) -> Call | None:
    """The call that begins at this stop; None where one ends."""
    info = ctypes.create_string_buffer(_INFO.size)
    _ptrace(_GET_SYSCALL_INFO, pid, _INFO.size, ctypes.addressof(info))
    operation, _arch, _ip, _sp, number, *arguments = _INFO.unpack(info.raw)
    return Call(pid, number, tuple(arguments)) if operation == _ENTRY else None


def _ptrace(request: int, pid: int, address: int, data: int) -> None:
    ctypes.set_errno(0)
    if _libc.ptrace(request, pid, address, data) < 0 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


def capabilities(pid: int) -> dict[str, int]:
    """The five sets, NoNewPrivs and Seccomp of a process, from /proc/PID/status."""
    wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    found = {}
    with Path(f"/proc/{pid}/status").open() as file:
        for key, value in (line.split(":", 1) for line in file):
            if key in wanted:
                found[key] = int(value, 16)
            elif key in ("NoNewPrivs", "Seccomp"):
                found[key] = int(value)
            elif key == "Uid":
                found[key] = int(value.split()[1])
    return found
