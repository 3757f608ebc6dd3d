# SPDX-License-Identifier: Apache-2.0
"""Bytes of the executables that a process maps, through the kernel's `read_memory`.

The kernel side decides what may be read (bpf/memory.bpf.c) and says why not.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from collector.model import ProcessId
from libbpf import memory
from libbpf.errors import BpfError

MOST_BYTES = memory.MOST_BYTES

PATIENCE = {"busy": 0.25, "rate": 10.0}
"""Seconds for which it is worth asking again: mappings may change without a pause, and somebody
else may have used up the answers of the last seconds."""

PAUSES = {"busy": 0.0005, "rate": 0.01}
_LONGEST_PAUSE = 0.05


class MemoryDeniedError(Exception):
    """Not given. `denial` is the end of a counter's name, or gone, failed: the process ended, the
    kernel said something else."""

    def __init__(self, denial: str) -> None:
        super().__init__(denial)
        self.denial = denial


@dataclass(slots=True)
class MemoryCounters:
    """The field names are the counters' names; denied counts those that were given up."""

    answers: int = 0
    bytes: int = 0
    asked_again: int = 0
    denied: Counter[str] = field(default_factory=Counter)


class ProcessMemory:
    """For any thread that may wait: a read may take as long as the disk does."""

    def __init__(
        self, program: int, requests: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Descriptors of the program read_memory and of the map memory_request."""
        self._program = program
        self._requests = requests
        self._clock = clock
        self._lock = threading.Lock()
        self.counters = MemoryCounters()

    def read(
        self, process: ProcessId, executable: int, header: int, address: int, length: int
    ) -> bytes:
        """At most MOST_BYTES of a file, see libbpf.memory.Part. Raises MemoryDeniedError."""
        part = memory.Part(executable, header, address, length)
        began, tries = self._clock(), 0
        while isinstance(answer := self._ask(process, part), str):
            if self._clock() - began >= PATIENCE.get(answer, 0):
                self.counters.denied[answer] += 1
                raise MemoryDeniedError(answer)
            self.counters.asked_again += 1
            time.sleep(min(PAUSES[answer] * 2**tries, _LONGEST_PAUSE))
            tries += 1
        return answer

    def _ask(self, process: ProcessId, part: memory.Part) -> bytes | str:
        """The bytes, or the denial."""
        who = memory.Program(process.pid, process.start_time, process.exec_id)
        try:
            with self._lock:
                answer = memory.ask(self._program, self._requests, who, part)
        except BpfError as error:
            return "gone" if error.errno == errno.ESRCH else "failed"
        if answer.status != memory.READ:
            return memory.DENIALS.get(answer.status, "failed")
        self.counters.answers += 1
        self.counters.bytes += len(answer.data)
        return answer.data
