# SPDX-License-Identifier: Apache-2.0
"""The memory iterator as somebody with the collector's uid and groups may use it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.feed.memory import ProcessMemory
from collector.mappings import records
from collector.model import Mapping, ProcessId
from collector.read import decode
from collector.read.pins import Pins, open_newest
from libbpf import iterators, memory
from tests.security import as_collector

KEY = bytes(4)


@dataclass
class Reader:
    """What the collector has: pins, and nothing of root."""

    pins: Pins

    @classmethod
    def of(cls, directory: Path) -> Reader:
        return cls(open_newest(str(directory)))

    @property
    def memory(self) -> ProcessMemory:
        return ProcessMemory(
            self.pins.iterators["read_memory"], self.pins.maps["memory_request"].fd
        )

    def mappings(self, pid: int) -> tuple[ProcessId, list[Mapping]]:
        """Identity of a process and the executable mappings of files."""
        raw = iterators.read(self.pins.iterators["task_vma"], "task_vma", tid=pid)
        ((process, found),) = records.mappings(raw).items()
        return process, [one for one in found if one.inode]

    def program(self, pid: int) -> tuple[ProcessId, list[Mapping]]:
        """Identity, and the mappings of the file that is mapped lowest: the program."""
        process, found = self.mappings(pid)
        return process, [one for one in found if one.inode == found[0].inode]

    def ask(self, process: ProcessId, *part: int) -> memory.Answer:
        """One request, whatever it is."""
        who = memory.Program(process.pid, process.start_time, process.exec_id)
        program, requests = self.pins.iterators["read_memory"], self.pins.maps["memory_request"].fd
        return memory.ask(program, requests, who, memory.Part(*part))

    def counters(self) -> dict[str, int]:
        counted = decode.counters(self.pins.maps["counters"].lookup_per_cpu(KEY))
        return {name: value for name, value in counted.items() if name.startswith("memory_")}


def as_reader(directory: Path, action: Any) -> Any:
    """What `action` returns when it is given a Reader without any privilege."""
    return as_collector.run(lambda: action(Reader.of(directory)))


@contextlib.contextmanager
def started(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has run its own execve and what its loader does."""
    process = subprocess.Popen([str(part) for part in command], **options)
    try:
        time.sleep(0.3)
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()
