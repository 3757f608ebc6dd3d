# SPDX-License-Identifier: Apache-2.0
"""The role `elf`: a process that reads executables and can do nothing else.

It is started when a connection waits on the socket that has its own name, "elf" unless another is
given (systemd's socket activation protocol: LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES, descriptors
from 3), and ends by itself.
"""

from __future__ import annotations

import os
import socket
import sys

from collector import heap
from collector.sandbox import SandboxError, close, roles
from collector.worker import limits
from collector.worker.worker import Worker

_FIRST_DESCRIPTOR = 3
_NAME = "elf"
_MANY = 1 << 20


def main(argv: list[str]) -> int:
    """Exit status 0 when there is no more work, 1 when it could not be started safely."""
    if len(argv) > 1:
        print("elf takes its name and nothing else", file=sys.stderr)
        return 2
    heap.settle()
    try:
        listener = _listener(argv[0] if argv else _NAME)
        limits.apply()
        wear = limits.Wear()
        close(roles.elf())
    except (SandboxError, OSError, LookupError, ValueError) as error:
        print(f"elf: {error}", file=sys.stderr)
        return 1
    Worker(listener, wear).run()
    return 0


def _listener(name: str) -> socket.socket:
    """The inherited listening socket; every other inherited descriptor above 2 is closed."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise LookupError("no socket was passed: LISTEN_PID is not this process")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    if name not in names[:count]:
        raise LookupError(f"no socket named {name} was passed: LISTEN_FDNAMES is {names}")
    fd = _FIRST_DESCRIPTOR + names.index(name)
    os.closerange(_FIRST_DESCRIPTOR, fd)
    os.closerange(fd + 1, _MANY)
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)
