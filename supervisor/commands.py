# SPDX-License-Identifier: Apache-2.0
"""Which process is started how: command lines and privileges of every role, side by side."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from supervisor import spawn
from supervisor.accounts import Accounts
from supervisor.layout import COLLECTOR, ELF_WORKER, PINS, SHIPPER, SPOOL, Layout
from supervisor.preflight import PYTHON
from supervisor.service import Plan


def role(layout: Layout, *arguments: str) -> tuple[str, ...]:
    """A role of the collector's private directory."""
    return _python(layout, "collector", *arguments)


def loader(layout: Layout, accounts: Accounts) -> tuple[Sequence[str], Sequence[str]]:
    """The loader's privileges and command line."""
    command = _python(layout, "loader", "--config", str(layout.loader_conf))
    return spawn.loader(accounts.groups[PINS]), command


def report(layout: Layout, accounts: Accounts, after: str) -> tuple[Sequence[str], Sequence[str]]:
    """The report reads what the collector wrote, and nothing else of it."""
    privileges = _user(accounts, COLLECTOR, SPOOL)
    arguments = ["report", "--spool", str(layout.spool)]
    if after:
        arguments += ["--after", after]
    return privileges, role(layout, *arguments)


def services(
    layout: Layout,
    accounts: Accounts,
    status: socket.socket,
    elf: socket.socket,
    tables: socket.socket,
) -> tuple[Plan, ...]:
    """Collector, shipper and two ELF workers: one for names, one for unwind tables."""
    return (
        Plan(
            "collect",
            _user(accounts, COLLECTOR, PINS, SPOOL),
            role(layout, "collect", "--config", str(layout.collector_yaml)),
            listener=status,
            listener_name="status",
        ),
        Plan(
            "ship",
            _user(accounts, SHIPPER, SPOOL),
            role(layout, "ship", "--config", str(layout.ship_yaml)),
        ),
        _elf_worker(layout, accounts, "elf", elf),
        _elf_worker(layout, accounts, "tables", tables, "tables"),
    )


def _elf_worker(
    layout: Layout, accounts: Accounts, name: str, listener: socket.socket, *arguments: str
) -> Plan:
    """The same process whatever its name, which says only whose connections it takes."""
    return Plan(
        name,
        _user(accounts, ELF_WORKER),
        role(layout, "elf", *arguments),
        listener=listener,
        listener_name=name,
        on_demand=True,
    )


def can_read(accounts: Accounts, paths: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Succeeds when the shipper's user can read all of paths; prints the first it cannot."""
    script = 'for path; do test -r "$path" || { printf %s "$path"; exit 1; }; done'
    return _user(accounts, SHIPPER, SPOOL), ("/bin/sh", "-c", script, "sh", *paths)


def _user(accounts: Accounts, name: str, *groups: str) -> tuple[str, ...]:
    numbers = [accounts.groups[group] for group in groups]
    return spawn.unprivileged(accounts.users[name], accounts.groups[name], numbers)


def _python(layout: Layout, directory: str, *arguments: str) -> tuple[str, ...]:
    # -I -S: nothing but that directory and the standard library can be imported.
    return (str(PYTHON), "-I", "-S", "-B", str(layout.lib / directory), *arguments)
