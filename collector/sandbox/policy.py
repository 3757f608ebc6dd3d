# SPDX-License-Identifier: Apache-2.0
"""What a process keeps once its door is closed, and what it then reports about itself."""

from __future__ import annotations

from dataclasses import dataclass


class SandboxError(Exception):
    """The door could not be closed as the policy says; the process must not go on."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What stays allowed; everything not named here is refused.

    readable: directories or files that may be opened for reading; None leaves reading to file
    permissions alone. writable: directories in which files may be made, renamed, written and
    removed (they are readable too). tcp_ports: the only TCP ports to connect to where the
    kernel can tell (Landlock ABI 4, linux 6.7); None leaves the port open. memfds: files in memory
    that can be sealed.
    """

    role: str
    open_files: bool = False
    readable: tuple[str, ...] | None = ()
    writable: tuple[str, ...] = ()
    threads: bool = False
    serves: bool = False
    unix_sockets: bool = False
    internet: bool = False
    tcp_ports: tuple[int, ...] | None = None
    bpf_elements: bool = False
    memfds: bool = False
    executable_memory: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What is in force, read back from the kernel where it can be asked.

    landlock_abi is the kernel's Landlock ABI and 0 where there is none; landlock names the
    kinds of access it restricts here. system_calls counts the calls the filter lets through,
    with or without a condition on their arguments.
    """

    role: str
    uid: int
    capabilities: int
    no_new_privs: bool
    seccomp: int
    system_calls: int
    landlock_abi: int
    landlock: tuple[str, ...]
