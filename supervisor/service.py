# SPDX-License-Identifier: Apache-2.0
"""One process that is kept alive, and what becomes of it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from supervisor import spawn
from supervisor.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Plan:
    """How to start a process. With on_demand, only while a connection is pending there."""

    name: str
    privileges: Sequence[str]
    command: Sequence[str]
    listener: socket.socket | None = None
    listener_name: str = ""
    on_demand: bool = False


class Service:
    """Keeps Plan's process running until `stop`. All times are of time.monotonic().

    status is the wait status of the process that ended last.
    """

    def __init__(self, plan: Plan, log: Callable[[str], None]) -> None:
        self.plan = plan
        self.child: spawn.Child | None = None
        self.backoff = Backoff()
        self.due = 0.0
        self.started = 0.0
        self.status = 0
        self.stopping = False
        self._log = log

    def wants_start(self, now: float) -> bool:
        """Whether it is time to start it (or, on demand, to watch for a connection)."""
        return self.child is None and not self.stopping and now >= self.due

    def start(self, now: float) -> int:
        """Start the process; returns the read end of its output."""
        listener = self.plan.listener
        descriptors = [(listener.fileno(), self.plan.listener_name)] if listener else []
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writer, True)
        try:
            self.child = spawn.start(self.plan.privileges, self.plan.command, writer, descriptors)
        finally:
            os.close(writer)
        self.started = now
        return reader

    def ended(self, now: float) -> int:
        """Collect the dead process and plan the next start; returns its wait status."""
        assert self.child is not None
        _, status = os.waitpid(self.child.pid, 0)
        self.status = status
        os.close(self.child.pidfd)
        self.child = None
        if self.stopping:
            return status
        if self.plan.on_demand and status == 0:
            self.due = now
            return status
        delay = self.backoff.after(now - self.started)
        self.due = now + delay
        self._log(f"{self.plan.name} {describe(status)}; starting again in {delay:g} s")
        return status

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask the process to end and do not start it again."""
        self.stopping = True
        if self.child is not None:
            signal.pidfd_send_signal(self.child.pidfd, number)


def describe(status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
