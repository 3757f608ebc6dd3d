# SPDX-License-Identifier: Apache-2.0
"""What a worker may use up. A worker beyond its means ends; another is started when needed."""

from __future__ import annotations

import os
import resource
import signal
import time

ADDRESS_SPACE = 1 << 30
"""A symbol table of 24 MiB and strings of 128 MiB, with Python's objects made of them."""

DESCRIPTORS = 32
CPU_SECONDS = 600
REQUEST_SECONDS = 3.0
"""The largest executables at hand, of 100,000 symbols and more, take 0.2 s."""

TABLE_SECONDS = 10.0
"""Of a request for an unwind table; that of node takes one second where nothing else runs."""

IDLE_SECONDS = 60.0
"""Some windows of the default length: where a function is met for the first time now and then, one
worker stays and keeps what it knows. To start one costs 0.1 s, a hundred times its answer."""

RESIDENT_BYTES = 64 * 1024 * 1024
"""Above it a worker ends after its request: memory goes back to the kernel for certain."""


def apply() -> None:
    """Resource limits of this process, hard and soft alike."""
    limits = {
        resource.RLIMIT_AS: ADDRESS_SPACE,
        resource.RLIMIT_NOFILE: DESCRIPTORS,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (limit, limit))
    # The default action ends the process wherever it is, also within one long C call.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def start_deadline(seconds: float) -> None:
    """From now on the request must be answered within so many seconds, or the process ends."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def stop_deadline() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


class Wear:
    """Whether this worker should make room for a fresh one."""

    def __init__(self) -> None:
        """Opens /proc/self/statm, so it is made before the door closes."""
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._page = os.sysconf("SC_PAGESIZE")

    def worn_out(self) -> bool:
        """After a request: resident memory, or half of the CPU time, is used up."""
        resident = int(os.pread(self._statm, 128, 0).split()[1]) * self._page
        return resident > RESIDENT_BYTES or time.process_time() > CPU_SECONDS / 2
