# SPDX-License-Identifier: Apache-2.0
"""The policy of each role of the agent, in one place to be read side by side."""

from __future__ import annotations

import os
from pathlib import Path

from collector.sandbox.policy import Policy

_NOT_READ = frozenset({"dev", "lost+found", "proc", "run", "sys"})
"""What no executable of a host lives in; /run holds the pins, which stay out of reach."""

_NAME_SERVICE = ("/etc", "/usr")

_OWN_CODE = str(Path(__file__).resolve().parents[2])
"""Python imports some modules only when they are needed; extension modules no more."""


def collect(spool_dir: str, *more_readable: str, cache_dir: str = "") -> Policy:
    """The collector: executables of the host, spool and cache, bpf(2) on elements, images in
    memory."""
    return Policy(
        role="collect",
        open_files=True,
        readable=(*host_directories(), _OWN_CODE, *more_readable),
        writable=(spool_dir, cache_dir) if cache_dir else (spool_dir,),
        threads=True,
        serves=True,
        unix_sockets=True,
        bpf_elements=True,
        memfds=True,
    )


def elf() -> Policy:
    """The ELF worker: descriptors it is handed and the connection they came by."""
    return Policy(role="elf", serves=True)


def ship(
    spool_dir: str, state_dir: str, *more_readable: str, tcp_ports: tuple[int, ...] | None
) -> Policy:
    """The shipper: reads the spool and its credentials, writes its cursors, connects.

    tcp_ports are those of the destinations; an empty tuple leaves it no socket at all.
    """
    ports = None if tcp_ports is None else (*tcp_ports, 53)
    return Policy(
        role="ship",
        open_files=True,
        readable=(*_present(_NAME_SERVICE), _OWN_CODE, spool_dir, *more_readable),
        writable=(state_dir,),
        threads=True,
        internet=tcp_ports is None or bool(tcp_ports),
        tcp_ports=ports if ports != (53,) else (),
    )


def report(spool_dir: str, *more_readable: str) -> Policy:
    """The report: reads the spool, writes to the descriptors it was started with."""
    return Policy(
        role="report",
        open_files=True,
        readable=(*_present(("/usr",)), _OWN_CODE, spool_dir, *more_readable),
    )


def host_directories() -> tuple[str, ...]:
    """The root directory's entries in which programs may lie, without those of the kernel.

    Symbolic links (/bin, /lib) are left out: Landlock judges the path they lead to. Nothing
    is stat'ed, because an entry may be a network file system that does not answer.
    """
    with os.scandir("/") as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return tuple(f"/{name}" for name in sorted(names) if name not in _NOT_READ)


def _present(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(path for path in paths if Path(path).exists())
