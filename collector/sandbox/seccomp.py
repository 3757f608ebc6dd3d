# SPDX-License-Identifier: Apache-2.0
"""The seccomp filter of a policy: an allow list, built by libseccomp.

Refused calls answer EPERM; those of syscalls.KILL end the process. A condition compares
whole 64-bit registers, so rubbish in an upper half can only refuse, never allow.
"""

from __future__ import annotations

import ctypes.util
import errno
import fcntl
import importlib
import mmap
import os
import socket
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from collector.sandbox import syscalls
from collector.sandbox.policy import Policy, SandboxError

if TYPE_CHECKING:
    import pyseccomp

_CLONE_THREAD = 0x00010000
_AT_EMPTY_PATH = 0x1000
_SET_ID_BITS = 0o6000
_ATTR_OPTIMIZE_BINARY_TREE = 2

Condition = tuple[int, int, int, int]
"""Argument number, comparison, and its one or two data."""

Rule = tuple[str, tuple[Condition, ...]]

_EQUAL = 4
_MASKED_EQUAL = 7


def _is(argument: int, value: int) -> Condition:
    return (argument, _EQUAL, value, 0)


def _lacks(argument: int, bits: int) -> Condition:
    return (argument, _MASKED_EQUAL, bits, 0)


def _has(argument: int, bits: int) -> Condition:
    return (argument, _MASKED_EQUAL, bits, bits)


def rules(policy: Policy) -> Iterator[Rule]:
    """What the filter lets through: (system call, conditions that must all hold)."""
    plain = [*syscalls.MEMORY, *syscalls.TIME, *syscalls.SELF, *syscalls.DESCRIPTORS]
    plain += syscalls.SERVE if policy.serves else ()
    plain += syscalls.LOOK if policy.open_files else ()
    plain += syscalls.CHANGE if policy.writable else ()
    plain += syscalls.CONNECT if policy.internet else ()
    yield from ((name, ()) for name in plain)
    yield from _conditional(policy)
    yield from _files(policy)
    yield from _sockets(policy)
    if policy.memfds:
        yield from (("memfd_create", (_is(1, flags),)) for flags in syscalls.MEMFD_FLAGS)
        yield "fcntl", (_is(1, fcntl.F_ADD_SEALS),)
    if policy.bpf_elements:
        yield from (("bpf", (_is(0, command),)) for command in syscalls.BPF_COMMANDS.values())


def _conditional(policy: Policy) -> Iterator[Rule]:
    memory = () if policy.executable_memory else (_lacks(2, mmap.PROT_EXEC),)
    yield "mmap", memory
    yield "mprotect", memory
    yield from (("ioctl", (_is(1, request),)) for request in syscalls.IOCTL_REQUESTS)
    yield from (("fcntl", (_is(1, command),)) for command in syscalls.FCNTL_COMMANDS)
    yield from (("prctl", (_is(0, option),)) for option in syscalls.PRCTL_OPTIONS)
    # Asking for limits stays, setting them or asking about another process does not.
    yield "prlimit64", (_is(0, 0), _is(2, 0))
    # abort(3), raise(3) and pthread_kill(3): only to this process, whose pid cannot change.
    yield "tgkill", (_is(0, os.getpid()),)
    yield "kill", (_is(0, os.getpid()),)
    # fstat(3) of glibc 2.33 to 2.36; with a path it asks for no more than stat does.
    if not policy.open_files:
        yield "newfstatat", (_is(3, _AT_EMPTY_PATH),)
    if policy.threads:
        yield "clone", (_has(0, _CLONE_THREAD),)


def _files(policy: Policy) -> Iterator[Rule]:
    if not policy.open_files:
        return
    if policy.writable:
        # No file of ours may lend its owner's uid to whoever runs it.
        yield "openat", (_lacks(3, _SET_ID_BITS),)
        yield "open", (_lacks(2, _SET_ID_BITS),)
        yield "fchmod", (_lacks(1, _SET_ID_BITS),)
        return
    changing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    yield "openat", (_lacks(2, changing),)
    yield "open", (_lacks(1, changing),)


def _sockets(policy: Policy) -> Iterator[Rule]:
    if policy.unix_sockets or policy.internet:
        yield "socket", (_is(0, socket.AF_UNIX),)
        yield "socketpair", (_is(0, socket.AF_UNIX),)
    if policy.unix_sockets and not policy.internet:
        yield "connect", ()
    if policy.internet:
        yield "socket", (_is(0, socket.AF_INET),)
        yield "socket", (_is(0, socket.AF_INET6),)
        # getaddrinfo sorts addresses by what the routing netlink says about interfaces.
        yield "socket", (_is(0, socket.AF_NETLINK), _is(2, 0))


def build(policy: Policy) -> tuple[pyseccomp.SyscallFilter, int]:
    """The filter, ready to load, and how many system calls it lets through."""
    library = binding()
    made = library.SyscallFilter(library.ERRNO(errno.EPERM))
    made.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
    made.set_attr(library.Attr.CTL_OPTIMIZE, _ATTR_OPTIMIZE_BINARY_TREE)
    allowed = set()
    for name, conditions in rules(policy):
        if _add(library, made, library.ALLOW, name, conditions):
            allowed.add(name)
    for name in syscalls.KILL:
        _add(library, made, library.KILL_PROCESS, name, ())
    # glibc falls back to clone(2), whose flags a filter can see, when clone3 is unknown.
    _add(library, made, library.ERRNO(errno.ENOSYS), "clone3", ())
    return made, len(allowed)


def _add(
    library: ModuleType,
    made: pyseccomp.SyscallFilter,
    action: int,
    name: str,
    conditions: tuple[Condition, ...],
) -> bool:
    number = library.resolve_syscall(library.Arch.NATIVE, name)
    if number < 0:
        return False
    try:
        made.add_rule(action, number, *(library.Arg(*condition) for condition in conditions))
    except OSError as error:
        raise SandboxError(f"seccomp rule for {name}: {error}") from error
    return True


def binding() -> ModuleType:
    """pyseccomp, imported without the child processes of ctypes.util.find_library.

    It would run ldconfig, and a compiler where that fails, in a process that is about to
    promise that it never starts a program. The names are those of the two libraries' ABIs.
    """
    names = {"c": "libc.so.6", "seccomp": "libseccomp.so.2"}
    original = ctypes.util.find_library
    ctypes.util.find_library = names.get  # type: ignore[assignment]
    try:
        library: ModuleType = importlib.import_module("pyseccomp")
    except (ImportError, OSError, RuntimeError) as error:
        raise SandboxError(f"libseccomp or its binding is missing: {error}") from error
    finally:
        ctypes.util.find_library = original
    return library
