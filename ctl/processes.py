# SPDX-License-Identifier: Apache-2.0
"""Which processes are the agent's, and what /proc says about each.

Found by user and by cgroup, never by a list the agent supplies. The first is for an agent started
in the foreground, the second also finds a process that runs as somebody else. Only processes of
the reader's own pid namespace count: a container may use the same uid for something of its own.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path

from collector.label.escape import clean
from ctl.document import AgentProcess, Capabilities
from ctl.procfs import (
    ProcError,
    TaskStatus,
    parse_cgroups,
    parse_pss,
    parse_stat,
    parse_status,
)

USERS = ("parca-agent", "parca-agent-ship", "parca-agent-elf")
# Only where root makes cgroups: below a user's slice anybody may choose such a name.
CGROUP = re.compile(r"/(parca-agent\.slice|system\.slice/parca-agent[^/]*\.service)(/.*)?")
ROLES = {"collect": "collector", "ship": "shipper", "elf": "elf worker", "report": "report"}
MAX_FILE = 1 << 20
MAX_NAME = 32


def find(proc: Path, uids: frozenset[int]) -> tuple[AgentProcess, ...]:
    """The agent's processes by role and pid. `proc` is a mounted procfs."""
    with (proc / "uptime").open("rb") as file:
        uptime = float(file.read().split()[0])
    rows = (_inspect(directory, uids, uptime) for directory in proc.glob("[0-9]*"))
    return tuple(sorted((row for row in rows if row), key=lambda row: (row.role, row.pid)))


def agent_uids() -> frozenset[int]:
    """The uids of those of the agent's users that exist here."""
    return frozenset(_uids())


def _uids() -> Iterator[int]:
    for name in USERS:
        try:
            yield pwd.getpwnam(name).pw_uid
        except KeyError:
            continue


def _inspect(directory: Path, uids: frozenset[int], uptime: float) -> AgentProcess | None:
    """None for somebody else's process, and for one that has ended meanwhile."""
    try:
        status = parse_status(_read(directory / "status"))
        ours = not uids.isdisjoint(status.uids) or _in_our_cgroup(directory)
        return _row(directory, status, uptime) if ours and status.namespaces == 1 else None
    except (OSError, ProcError):
        return None


def _in_our_cgroup(directory: Path) -> bool:
    paths = parse_cgroups(_read(directory / "cgroup"))
    return any(CGROUP.fullmatch(path) for path in paths)


def _row(directory: Path, status: TaskStatus, uptime: float) -> AgentProcess:
    threads = [parse_status(_read(path)) for path in directory.glob("task/[0-9]*/status")]
    times = parse_stat(_read(directory / "stat"))
    hertz = os.sysconf("SC_CLK_TCK")
    age = max(uptime - times.start / hertz, 0.0)
    uids = tuple(sorted({uid for thread in (status, *threads) for uid in thread.uids}))
    return AgentProcess(
        role=clean(role(_read(directory / "cmdline"), status.name), MAX_NAME),
        pid=int(directory.name),
        parent_pid=status.ppid,
        user=_user(uids[0]),
        uids=uids,
        threads=len(threads),
        age_seconds=round(age, 2),
        capabilities=_united((status, *threads)),
        no_new_privs=min(thread.no_new_privs for thread in (status, *threads)),
        seccomp=min(thread.seccomp for thread in (status, *threads)),
        cpu_seconds=times.cpu / hertz,
        cpu_percent=round(100 * times.cpu / hertz / age, 3) if age else 0.0,
        rss_bytes=status.rss_bytes,
        pss_bytes=_pss(directory),
    )


def role(cmdline: bytes, name: str) -> str:
    """What a process does, from the directory and the word it was started with."""
    words = [word.decode(errors="surrogateescape") for word in cmdline.split(b"\0")]
    for at, word in enumerate(words):
        if word.endswith("/loader"):
            return "loader"
        if word.endswith("/collector"):
            which = " (tables)" if words[at + 1 : at + 3] == ["elf", "tables"] else ""
            return ROLES.get("".join(words[at + 1 : at + 2]), name) + which
    return name


def _united(threads: tuple[TaskStatus, ...]) -> Capabilities:
    sets = [0] * 5
    for thread in threads:
        sets = [one | other for one, other in zip(sets, thread.capabilities, strict=True)]
    return Capabilities(*(f"{bits:016x}" for bits in sets))


def _user(uid: int) -> str:
    try:
        return clean(pwd.getpwuid(uid).pw_name, MAX_NAME)
    except KeyError:
        return str(uid)


def _pss(directory: Path) -> int | None:
    try:
        return parse_pss(_read(directory / "smaps_rollup"))
    except (OSError, ProcError):
        return None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE)
