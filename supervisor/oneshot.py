# SPDX-License-Identifier: Apache-2.0
"""Run one process of the agent to its end, with a deadline."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence

from supervisor import spawn

OUTPUT_BYTES = 1 << 16


def run(
    privileges: Sequence[str],
    command: Sequence[str],
    deadline: float,
    descriptors: Sequence[tuple[int, str]] = (),
) -> tuple[int, bytes]:
    """(exit code, what it printed). Negative codes are signals; it is killed after `deadline` s.

    Output beyond OUTPUT_BYTES is read and thrown away.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        child = spawn.start(privileges, command, writer, descriptors)
    finally:
        os.close(writer)
    try:
        output = _watch(child, reader, time.monotonic() + deadline)
    finally:
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)  # harmless when it has ended
        _, status = os.waitpid(child.pid, 0)
        os.close(child.pidfd)
        os.close(reader)
    return os.waitstatus_to_exitcode(status), output


def _watch(child: spawn.Child, reader: int, end: float) -> bytes:
    """Read until the process ends or the time is over."""
    output = bytearray()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    poll.register(child.pidfd, select.POLLIN)
    while (left := end - time.monotonic()) > 0:
        ready = {descriptor for descriptor, _ in poll.poll(left * 1000)}
        if reader in ready:
            data = os.read(reader, 65_536)
            output += data[: OUTPUT_BYTES - len(output)]
            if not data:
                poll.unregister(reader)
        elif child.pidfd in ready:
            break
    return bytes(output)
