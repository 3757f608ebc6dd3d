# SPDX-License-Identifier: Apache-2.0
"""Capabilities, no_new_privs and the dumpable flag of the calling process.

Numbers: linux/prctl.h and linux/capability.h; capset(2) is called through libc.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass

from collector.sandbox.policy import SandboxError

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Status:
    """The lines of /proc/self/status that prove what a process may do."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    capabilities: dict[str, int]
    no_new_privs: bool
    seccomp: int
    threads: int


def open_status() -> int:
    """A descriptor of /proc/self/status; it is read again when open(2) is already closed."""
    try:
        return os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SandboxError(f"cannot verify the sandbox: {error}") from error


def read_status(fd: int) -> Status:
    """What the kernel says now through a descriptor of open_status()."""
    lines = os.pread(fd, 16384, 0).decode("ascii", "replace").splitlines()
    fields = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    try:
        return Status(
            uids=tuple(int(word) for word in fields["Uid"]),
            gids=tuple(int(word) for word in fields["Gid"]),
            capabilities={name: int(fields[name][0], 16) for name in _SETS},
            no_new_privs=fields["NoNewPrivs"] == ["1"],
            seccomp=int(fields["Seccomp"][0]),
            threads=int(fields["Threads"][0]),
        )
    except (KeyError, IndexError, ValueError) as error:
        raise SandboxError(f"/proc/self/status lacks {error}") from error


def require_nothing_left(status: Status) -> None:
    """Raises SandboxError when the process is root or any capability set is not empty."""
    if 0 in status.uids or 0 in status.gids:
        raise SandboxError(
            "this process runs as root or in root's group; start it under its own user"
        )
    left = [f"{name} {value:016x}" for name, value in status.capabilities.items() if value]
    if left:
        raise SandboxError(
            f"capabilities are left: {', '.join(left)}; start it with an empty bounding set"
        )


def drop_capabilities() -> None:
    """Empty every set that this process may empty; require_nothing_left() says what stayed.

    The bounding set goes first: dropping from it needs CAP_SETPCAP, which capset takes away.
    """
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    with contextlib.suppress(OSError):
        for capability in range(_last_capability() + 1):
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                break
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    libc.capset(header, nothing)


def _last_capability() -> int:
    fd = os.open("/proc/sys/kernel/cap_last_cap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 16))
    finally:
        os.close(fd)


def set_no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS, which Landlock and seccomp ask of an unprivileged process."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")


def set_not_dumpable() -> None:
    """PR_SET_DUMPABLE 0: no core file, and no ptrace by another process of the same user."""
    _prctl(_PR_SET_DUMPABLE, 0, "the dumpable flag")


def _prctl(option: int, value: int, what: str) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise SandboxError(f"cannot set {what}: {os.strerror(ctypes.get_errno())}")
