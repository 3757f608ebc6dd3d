# SPDX-License-Identifier: Apache-2.0
"""Files of /proc/PID as values. Pure functions of the bytes; ProcError for any other bytes.

Sources: proc_pid_status(5), proc_pid_stat(5), proc_pid_cgroup(5), proc_pid_smaps(5). The kernel
escapes line ends in a process's name in `status`; in `stat` it does not, so that name is cut off
at its last parenthesis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


class ProcError(Exception):
    """Bytes that are no file of /proc as this program knows it."""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """What /proc/PID/task/TID/status says about the rights of one thread.

    capabilities are bit sets in the order of CAPABILITY_SETS; namespaces is the number of pid
    namespaces, from the reader's own down, in which the task has a number.
    """

    name: str
    ppid: int
    uids: tuple[int, ...]
    capabilities: tuple[int, ...]
    no_new_privs: int
    seccomp: int
    namespaces: int
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Times:
    """Of /proc/PID/stat, in clock ticks: CPU time used, and start since boot."""

    cpu: int
    start: int


def parse_status(data: bytes) -> TaskStatus:
    """A thread's status file."""
    lines = (line.partition(b":\t") for line in data.split(b"\n"))
    fields = {key: value for key, _, value in lines}
    try:
        return TaskStatus(
            name=_name(fields[b"Name"]),
            ppid=int(fields[b"PPid"]),
            uids=tuple(int(uid) for uid in fields[b"Uid"].split()),
            capabilities=tuple(int(fields[name.encode()], 16) for name in CAPABILITY_SETS),
            no_new_privs=int(fields[b"NoNewPrivs"]),
            seccomp=int(fields[b"Seccomp"]),
            namespaces=len(fields[b"NSpid"].split()),
            rss_bytes=_kib(fields.get(b"VmRSS", b"0 kB")),
        )
    except (KeyError, ValueError) as error:
        raise ProcError(f"status: {type(error).__name__}") from None


def parse_stat(data: bytes) -> Times:
    """A process's stat file: its fields 14, 15 and 22."""
    fields = data.rpartition(b")")[2].split()
    try:
        return Times(int(fields[11]) + int(fields[12]), int(fields[19]))
    except (IndexError, ValueError):
        raise ProcError("stat") from None


def parse_cgroups(data: bytes) -> tuple[str, ...]:
    """The paths of a process's cgroup file, one per hierarchy."""
    lines = data.decode(errors="surrogateescape").split("\n")
    return tuple(line.split(":", 2)[2] for line in lines if line.count(":") >= 2)


def parse_pss(data: bytes) -> int:
    """Bytes of proportional set size of a smaps_rollup file."""
    for line in data.split(b"\n"):
        if line.startswith(b"Pss:"):
            try:
                return _kib(line.removeprefix(b"Pss:"))
            except ValueError:
                break
    raise ProcError("smaps_rollup")


def _name(field: bytes) -> str:
    """Undo what the kernel did: it escapes a line end and a backslash, nothing else."""
    plain = re.sub(rb"\\([n\\])", lambda m: b"\n" if m[1] == b"n" else b"\\", field)
    return plain.decode(errors="surrogateescape")


def _kib(field: bytes) -> int:
    return int(field.split()[0]) * 1024 if field.split() else int(field)
