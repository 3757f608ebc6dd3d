# SPDX-License-Identifier: Apache-2.0
"""The promise, judged: no process of the agent holds a privilege once it has started."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from collector.status.health import DEGRADED, FAILED, OK
from collector.status.snapshot import Health
from ctl.document import AgentProcess

STARTED_SECONDS = 10.0  # until then a process may be on its way to its closed door
SECCOMP_FILTER = 2

# include/uapi/linux/capability.h, by number
_NAMES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable "
    "net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio "
    "sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time "
    "sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog "
    "wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"
)
NAMES = tuple(_NAMES.split())


def judge(rows: tuple[AgentProcess, ...]) -> Health:
    """Failed if any process keeps a privilege; degraded if there is none to look at."""
    if not rows:
        return Health(DEGRADED, ("no process of the agent is visible in /proc",))
    reasons = tuple(f"{row.role} (pid {row.pid}): {what}" for row in rows for what in kept(row))
    return Health(FAILED if reasons else OK, reasons)


def kept(row: AgentProcess) -> Iterator[str]:
    """What this process should not have, a phrase each."""
    if row.age_seconds < STARTED_SECONDS:
        return
    if 0 in row.uids:
        yield "runs as uid 0"
    for field in dataclasses.fields(row.capabilities):
        held = int(getattr(row.capabilities, field.name), 16)
        if held:
            yield f"{field.name} set holds {capability_names(held)}"
    if row.no_new_privs != 1:
        yield "may gain privileges by execve (NoNewPrivs 0)"
    if row.seccomp != SECCOMP_FILTER:
        yield f"runs without a system call filter (Seccomp {row.seccomp})"


def capability_names(held: int) -> str:
    """The names of a set's members; `all` for the full set."""
    if held == (1 << held.bit_length()) - 1 and held.bit_length() >= len(NAMES):
        return "all"
    numbers = [bit for bit in range(held.bit_length()) if held >> bit & 1]
    return " ".join(NAMES[bit] if bit < len(NAMES) else str(bit) for bit in numbers)
