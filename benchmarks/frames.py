# SPDX-License-Identifier: Apache-2.0
"""What a frame of a user stack costs the kernel: a recursion of known depth, sampled alone.

The programs are loaded without the agent, on a perf event of one process, so every run that is
counted walked the same stack. Times are bpf_stats' (linux 5.1), which count the clock in.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import kernel
from benchmarks.claims import Claim
from collector.elf.source import Source
from collector.feed.loaded import Loaded
from collector.mappings import records
from collector.model import Mapping
from collector.read import decode
from collector.unwind.chunks import packed
from libbpf import iterators, objects
from libbpf.maps import Map

DEPTHS = (10, 60, 120)
BELOW = 4
"""Frames below the recursion: main, libc's two, _start."""

PERIOD_NS = 100_000
INTERVALS, INTERVAL_SECONDS = 20, 0.2
PERF_EVENT_OPEN, ATTRIBUTE_BYTES, CLOEXEC = 298, 112, 8
_MAPS = ("unwind_chunks", "executables", "file_tables", "control", "counters")
_libc = ctypes.CDLL(None, use_errno=True)

RECURSION = """
#include <stdlib.h>
#include <unistd.h>
static volatile unsigned long sink;
__attribute__((noinline)) static void work(int depth)
{
    if (depth > 1) work(depth - 1); else for (write(1, "", 1);;) sink++;
    sink++;
}
int main(int count, char **arguments) { work(atoi(arguments[count - 1])); return 0; }
"""
_FLAGS = ("-O2", "-fno-optimize-sibling-calls", "-fno-inline")


@dataclass(frozen=True, slots=True)
class Way:
    """How stacks are walked: by which object, with or without tables, of code built how."""

    name: str
    program: str
    tables: bool
    flag: str


BY_TABLE = Way("tables", "unwinder", True, "-fomit-frame-pointer")
BY_FRAME_POINTER = Way("frame pointers", "sampler", False, "-fno-omit-frame-pointer")
WAYS = (BY_TABLE, BY_FRAME_POINTER)


@dataclass(frozen=True, slots=True)
class FrameResult:
    """Stacks of one depth. nanoseconds is of one sample, the median of some intervals; frames is
    how many callers were found in each."""

    way: str
    depth: int
    frames: float
    nanoseconds: float
    samples: int


def run() -> list[FrameResult]:
    """Each way at each depth, on the last CPU."""
    found = []
    with tempfile.TemporaryDirectory(prefix="parca-agent-bench-") as directory, kernel.statistics():
        for way in WAYS:
            program = Path(directory) / way.name
            command = ["gcc", "-x", "c", "-", "-o", program, *_FLAGS, way.flag]
            subprocess.run(command, input=RECURSION, text=True, check=True)
            found += [measure(way, program, depth) for depth in DEPTHS]
    return found


def measure(way: Way, program: Path, depth: int) -> FrameResult:
    with _recursion(program, depth - BELOW) as pid, _Loaded(way.program) as loaded:
        mappings = loaded.mappings(pid)
        if way.tables:
            loaded.load_tables(mappings)
        with loaded.sampling(pid):
            time.sleep(INTERVAL_SECONDS)
            first = loaded.counters()
            times = [loaded.interval() for _ in range(INTERVALS)]
            last = loaded.counters()
    samples = last["recorded"] - first["recorded"]
    frames = sum(last[name] - first[name] for name in ("frames_by_row", "frames_by_frame_pointer"))
    return FrameResult(way.name, depth, frames / max(samples, 1), statistics.median(times), samples)


@contextlib.contextmanager
def _recursion(program: Path, depth: int) -> Iterator[int]:
    """Pid of a process that spins at the bottom of a recursion."""
    cpu = max(os.sched_getaffinity(0))
    command = ["nice", "-n", "-20", "taskset", "-c", str(cpu), program, str(depth)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            process.stdout.read(1)
            yield process.pid
        finally:
            process.kill()


class _Loaded:
    """The programs, as the loader loads them, and the maps a collector would hold."""

    def __init__(self, sampler: str) -> None:
        self._objects = {}
        fds: dict[str, int] = {}
        for name in ("bootstrap", sampler, "iterators"):
            item = self._objects[name] = objects.BpfObject(name)
            item.share_maps(fds)
            item.load()
            fds = item.map_fds() | fds
        self._sampler = self._objects[sampler]
        self._program = self._sampler.program_fd("sample")
        self._maps = {name: Map.of(name, fds[name]) for name in _MAPS}
        objects.write_first(fds["set_1"], "set_1", (1).to_bytes(4, "little"))

    def __enter__(self) -> _Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        for item in self._objects.values():
            item.close()

    def mappings(self, pid: int) -> list[Mapping]:
        """A process's executable mappings; to read them fills the kernel's ranges too."""
        program = self._objects["iterators"].program_fd("task_vma")
        (found,) = records.mappings(iterators.read(program, "task_vma", tid=pid)).values()
        return found

    def load_tables(self, mappings: list[Mapping]) -> None:
        maps = self._maps
        loaded = Loaded(maps["executables"], maps["file_tables"], maps["unwind_chunks"])
        for one in mappings:
            if not one.path.startswith("/"):
                continue
            with Path(one.path).open("rb") as file:
                made = packed(Source.of_descriptor(file.fileno()))
            identity = one.file.to_bytes(16, "little")
            loaded.know(one.file, loaded.load(identity, made.page_shift, made.rows, made.chunks))

    @contextlib.contextmanager
    def sampling(self, pid: int) -> Iterator[None]:
        beat = decode.control(time.monotonic_ns(), 0)
        self._maps["control"].update(bytes(4), beat)
        link = self._sampler.attach_perf_event("sample", _open_clock(pid))
        try:
            yield
        finally:
            link.close()

    def counters(self) -> dict[str, int]:
        return decode.counters(self._maps["counters"].lookup_per_cpu(bytes(4)))

    def interval(self) -> float:
        """Nanoseconds of a sample, for some time from now on."""
        before = kernel.fdinfo(self._program)
        time.sleep(INTERVAL_SECONDS)
        after = kernel.fdinfo(self._program)
        spent, count = (int(after[name]) - int(before[name]) for name in ("run_time_ns", "run_cnt"))
        return spent / max(count, 1)


def _open_clock(pid: int) -> int:
    """A clock event of one process (struct perf_event_attr, linux/perf_event.h)."""
    software, cpu_clock = 1, 0
    attribute = struct.pack("=IIQQ", software, ATTRIBUTE_BYTES, cpu_clock, PERIOD_NS)
    raw = ctypes.create_string_buffer(attribute, ATTRIBUTE_BYTES)
    fd = int(_libc.syscall(PERF_EVENT_OPEN, raw, pid, -1, -1, CLOEXEC))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    return fd


def per_frame(found: Sequence[FrameResult], way: Way) -> tuple[float, float]:
    """(ns a frame, ns a sample besides): the line through the shortest and the longest stack."""
    own = sorted((one for one in found if one.way == way.name), key=lambda one: one.frames)
    short, long = own[0], own[-1]
    slope = (long.nanoseconds - short.nanoseconds) / (long.frames - short.frames)
    return slope, short.nanoseconds - slope * short.frames


def claims(found: Sequence[FrameResult]) -> list[Claim]:
    frame, sample = per_frame(found, BY_TABLE)
    return [
        Claim("a frame by unwind table: ns", frame, 60, 90),
        Claim("a sample besides: ns", sample, 600, 1000),
    ]


def render(found: Sequence[FrameResult]) -> str:
    """One line for each depth, with the ratio to the frame-pointer walk of the same stack."""
    plain = {one.depth: one.nanoseconds for one in found if one.way == BY_FRAME_POINTER.name}
    lines = [f"{'walked by':>16} {'depth':>6} {'frames':>7} {'ns/sample':>10} {'ratio':>6}"]
    lines += [
        f"{one.way:>16} {one.depth:>6} {one.frames:>7.1f} {one.nanoseconds:>10,.0f}"
        f" {one.nanoseconds / plain[one.depth]:>6.2f}"
        for one in found
    ]
    for way in WAYS:
        slope, besides = per_frame(found, way)
        lines.append(f"{way.name:>16} {slope:.1f} ns a frame, {besides:,.0f} ns a sample besides")
    return "\n".join(lines)
