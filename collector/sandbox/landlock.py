# SPDX-License-Identifier: Apache-2.0
"""Landlock: which files, TCP ports, abstract sockets and processes stay in reach.

Every access the kernel's ABI knows is restricted; the policy's paths and ports are then
let through. Numbers: linux/landlock.h. Restricting applies to the calling thread only
(before ABI 8), so it is done while the process has one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
from dataclasses import dataclass

from collector.sandbox.policy import Policy, SandboxError
from collector.sandbox.privileges import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FILE, MAKE_REG, TRUNCATE = 1 << 5, 1 << 8, 1 << 14
BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1 << 0, 1 << 1

_READ = READ_FILE | READ_DIR
_WRITE = _READ | WRITE_FILE | REMOVE_FILE | MAKE_REG | TRUNCATE
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The three masks of struct landlock_ruleset_attr."""

    files: int
    net: int
    scoped: int

    def names(self) -> tuple[str, ...]:
        """The kinds of access restricted, in words for a report."""
        kinds = (("files", self.files), ("tcp", self.net), ("scope", self.scoped))
        read = ("read",) if self.files & READ_FILE else ()
        return (*(name for name, mask in kinds if mask), *read)


def abi() -> int:
    """The kernel's Landlock ABI; 0 when it has none or it is switched off at boot."""
    version = int(libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION))
    if version < 0 and ctypes.get_errno() not in (errno.ENOSYS, errno.EOPNOTSUPP):
        raise SandboxError(f"Landlock: {os.strerror(ctypes.get_errno())}")
    return max(version, 0)


def ruleset(policy: Policy, version: int) -> Ruleset:
    """What ABI `version` can restrict for this policy; pure."""
    rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    files = (1 << rights) - 1
    if policy.open_files and policy.readable is None:
        files &= ~_READ
    net = BIND_TCP | CONNECT_TCP
    if policy.internet and policy.tcp_ports is None:
        net = BIND_TCP
    return Ruleset(
        files=files,
        net=net if version >= 4 else 0,
        scoped=SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL if version >= 6 else 0,
    )


def apply(policy: Policy, version: int) -> Ruleset:
    """Restrict this thread for good. Raises SandboxError; a path that is absent is an error.

    A directory to read that this user may not enter needs no rule: it is out of reach as it is.
    """
    rules = ruleset(policy, version)
    words = (rules.files, rules.net, rules.scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("=QQQ", *words)[:size]
    fd = _checked(libc.syscall(_CREATE_RULESET, attributes, size, 0), "create")
    try:
        for path in policy.readable or () if policy.open_files else ():
            with contextlib.suppress(PermissionError):
                _allow_path(fd, path, _READ & rules.files)
        for path in policy.writable:
            _allow_path(fd, path, _WRITE & rules.files)
        if rules.net & CONNECT_TCP:
            for port in policy.tcp_ports or ():
                _allow_port(fd, CONNECT_TCP, port)
        if rules.net and policy.internet:
            # grpc finds out whether there is IPv6 by binding ::1 to any free port. It is not
            # enough to serve: listen(2) is refused by the filter.
            _allow_port(fd, BIND_TCP, 0)
        _checked(libc.syscall(_RESTRICT_SELF, fd, 0), "restrict")
    except OSError as error:
        raise SandboxError(f"Landlock: {error}") from error
    finally:
        os.close(fd)
    return rules


def _allow_path(ruleset_fd: int, path: str, access: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= _OF_A_FILE
        if access:
            rule = struct.pack("=Qi", access, fd)
            _add(ruleset_fd, _RULE_PATH_BENEATH, rule, path)
    finally:
        os.close(fd)


def _allow_port(ruleset_fd: int, access: int, port: int) -> None:
    _add(ruleset_fd, _RULE_NET_PORT, struct.pack("=QQ", access, port), f"port {port}")


def _add(ruleset_fd: int, kind: int, rule: bytes, what: str) -> None:
    _checked(libc.syscall(_ADD_RULE, ruleset_fd, kind, rule, 0), f"add {what}")


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise SandboxError(f"Landlock: {what}: {os.strerror(ctypes.get_errno())}")
    return result
