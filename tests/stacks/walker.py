# SPDX-License-Identifier: Apache-2.0
"""The unwinder of bpf/, compiled for this machine, as a function from cases to stacks."""

from __future__ import annotations

import contextlib
import enum
import json
import re
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ABI = (ROOT / "bpf/abi.h").read_text()
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unknown-pragmas")

FILE_VDSO = 1
UNWIND_PART_BITS = 3
IP_BEHIND, INTERRUPTED, GAVE_ZERO = 1, 2, 32  # enum frame_flag of bpf/frames.h

_HEAD = struct.Struct("=QQQ8I")
_RANGE = struct.Struct("=QQQQ")
_FILE = struct.Struct("=QII")
_TABLE = struct.Struct("=II")
_KEY = struct.Struct("=II")
_AREA = struct.Struct("=QQ")


def _stack_ends() -> dict[str, int]:
    return {name: int(number) for name, number in re.findall(r"\bSTACK_(\w+) = (\d+),", ABI)}


End = enum.IntEnum("End", _stack_ends())
"""enum stack_end of bpf/abi.h."""


def flags(*, in_call: bool, gave_zero: bool) -> int:
    """What registers_x86_64.h says of a thread's registers."""
    return INTERRUPTED | (IP_BEHIND if in_call else 0) | (GAVE_ZERO if gave_zero else 0)


class Fault(enum.IntEnum):
    """What happens to a chunk while it is searched: enum fault of replay.c."""

    NONE = 0
    LAST_KEY = 1
    FIRST_KEY = 2
    GONE = 3


class Range(NamedTuple):
    """An executable mapping: addresses, number of the file, offset in it."""

    start: int
    end: int
    file: int
    offset: int


@dataclass(frozen=True)
class Case:
    """All that a walk depends on. `chunks` are bodies as chunks.py makes them, by (table, page and
    part); `areas` memory as (address, bytes); `fault` strikes at that lookup of a chunk, from 1."""

    ip: int
    sp: int
    fp: int
    flags: int
    ranges: Sequence[Range]
    tables: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """By file number: number of the table and its page shift."""
    chunks: Mapping[tuple[int, int], bytes] = field(default_factory=dict)
    areas: Sequence[tuple[int, bytes]] = ()
    fault: Fault = Fault.NONE
    fault_at: int = 0

    def encoded(self) -> bytes:
        """As replay.c reads it."""
        ranges = sorted(self.ranges)
        counts = len(ranges), len(self.tables), len(self.tables), len(self.chunks), len(self.areas)
        parts = [
            _HEAD.pack(self.ip, self.sp, self.fp, self.flags, *counts, self.fault, self.fault_at)
        ]
        parts += [_RANGE.pack(*mapping) for mapping in ranges]
        parts += [_FILE.pack(file, table, 0) for file, (table, _) in self.tables.items()]
        parts += [_TABLE.pack(*table) for table in self.tables.values()]
        parts += [_KEY.pack(*key) + body for key, body in sorted(self.chunks.items())]
        parts += [_AREA.pack(start, len(data)) + data for start, data in self.areas]
        return b"".join(parts)


@dataclass(frozen=True)
class Walked:
    """frames: leaf first, return addresses as found. unreadable: the first address that could not
    be read, 0 for none. chunks: (table, page and part) of each chunk looked up, in order."""

    end: End
    frames: list[int]
    by_row: int
    by_frame_pointer: int
    unreadable: int
    chunks: list[tuple[int, int]]


class Walker:
    """One process that walks what it is given. Use as a context manager."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen([self._program], stdin=pipe, stdout=pipe, stderr=pipe)

    def __enter__(self) -> Walker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def walk(self, case: Case) -> Walked:
        """Raises AssertionError with what a sanitizer said."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        answer = b""
        with contextlib.suppress(BrokenPipeError):
            stdin.write(case.encoded())
            stdin.flush()
            answer = stdout.readline()
        if not answer:
            dead, self._process = self._process, self._start()
            stderr = dead.stderr.read() if dead.stderr else b""
            dead.kill()
            dead.wait()
            raise AssertionError(stderr.decode())
        values = json.loads(answer)
        return Walked(
            end=End(values["end"]),
            frames=values["frames"],
            by_row=values["by_row"],
            by_frame_pointer=values["by_frame_pointer"],
            unreadable=values["unreadable"],
            chunks=[(table, page) for table, page in values["chunks"]],
        )


def build(directory: Path, headers: Path = ROOT / "bpf") -> Path:
    """Compiles replay.c with both sanitizers; the program's path."""
    out = directory / "replay"
    source = ROOT / "tests/bpf/replay.c"
    includes = ("-I", ROOT / "tests/bpf/host", "-I", headers)
    command = ["gcc", "-g", "-O1", *SANITIZERS, *WARNINGS, *includes, source, "-o", out]
    subprocess.run(command, check=True)
    return out
