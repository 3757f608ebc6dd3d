# SPDX-License-Identifier: Apache-2.0
"""Closing the door: from here on the process has only what its policy left it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from collector.sandbox import landlock, privileges, seccomp
from collector.sandbox.policy import Policy, Report, SandboxError

if TYPE_CHECKING:
    import pyseccomp


def close(policy: Policy) -> Report:
    """Give up everything `policy` does not name, verify it, and say what is in force.

    To be called by the only thread of the process, once its resources are open and its
    modules imported. Raises SandboxError where something could not be given up: capabilities,
    no_new_privs and seccomp are required, Landlock is as good as the kernel's ABI, which the
    report names. Cannot be undone, nor called twice.
    """
    fd = privileges.open_status()
    try:
        before = privileges.read_status(fd)
        if before.threads != 1:
            raise SandboxError(
                f"{before.threads} threads run; the door closes for one, before others start"
            )
        privileges.drop_capabilities()
        privileges.require_nothing_left(privileges.read_status(fd))
        privileges.set_not_dumpable()
        privileges.set_no_new_privs()
        # built first: the binding and its library are files, and Landlock may close them off
        built, system_calls = seccomp.build(policy)
        abi = landlock.abi()
        restricted = landlock.apply(policy, abi).names() if abi else ()
        _load(built)
        return _verified(policy, privileges.read_status(fd), abi, restricted, system_calls)
    finally:
        os.close(fd)


def _load(built: pyseccomp.SyscallFilter) -> None:
    try:
        built.load()
    except OSError as error:
        raise SandboxError(f"seccomp: {error}") from error


def _verified(
    policy: Policy,
    status: privileges.Status,
    abi: int,
    restricted: tuple[str, ...],
    system_calls: int,
) -> Report:
    privileges.require_nothing_left(status)
    if not status.no_new_privs or status.seccomp != 2:
        raise SandboxError("the kernel does not confirm no_new_privs and the seccomp filter")
    return Report(
        role=policy.role,
        uid=status.uids[1],
        capabilities=0,
        no_new_privs=True,
        seccomp=status.seccomp,
        system_calls=system_calls,
        landlock_abi=abi,
        landlock=restricted,
    )
