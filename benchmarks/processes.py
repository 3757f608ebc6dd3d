# SPDX-License-Identifier: Apache-2.0
"""CPU time and memory of processes, from /proc."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
ROLES = ("collect", "ship", "tables", "elf")
SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes."""

    rss: int
    pss: int


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; its threads' run times are finer than its ticks."""
    with_threads = (
        int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )
    return sum(with_threads) / 1e9 or sum(_times(pid)[:2])


def reaped_seconds(pid: int) -> float:
    """The same of its children that have ended."""
    return sum(_times(pid)[2:])


def _times(pid: int) -> tuple[float, float, float, float]:
    # the name, in parentheses, may hold anything: count from behind it
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, reaped_user, reaped_system = (int(field) * TICK for field in fields[11:15])
    return user, system, reaped_user, reaped_system


def memory(pid: int) -> Memory:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines[1:])
    return Memory(*(int(fields[name].split()[0]) * 1024 for name in ("Rss", "Pss")))


def peak_rss(pid: int) -> int:
    """The most memory that was ever resident, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)["VmHWM"].split()[0]) * 1024


def roles(supervisor: int) -> dict[str, int]:
    """Pid of each role that is running, found among the supervisor's children."""
    found: dict[str, int] = {}
    for pid in children(supervisor):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except FileNotFoundError:
            continue
        named = [role for role in ROLES if role in arguments]
        if named:
            found[named[0]] = pid
    return found


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def machine_cpu_seconds() -> float:
    """What all CPUs have worked since boot."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, waiting = fields[3:5]
    return (sum(fields) - idle - waiting) * TICK


def forks() -> int:
    """Processes and threads made since boot."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("processes "))
