# SPDX-License-Identifier: Apache-2.0
"""What unwind tables of real executables take: a fresh ELF worker in its sandbox for each."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.agent import BenchmarkError
from collector.symbolize.client import TABLE_DEADLINE, ElfClient, WorkerError
from supervisor import sockets, spawn
from supervisor.preflight import PYTHON

CHUNK = 4096
"""Bytes of kernel memory."""

STAGE = Path(__file__).parents[1] / "build/stage/collector"
NOBODY = 65534
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class TableResult:
    """One executable. seconds is CPU time of the worker for its table, text_bytes what its
    executable segments map, kernel_bytes what the table takes there, sent_bytes the answer."""

    name: str
    text_bytes: int
    rows: int
    page_shift: int
    chunks: int
    left_out: int
    refused: int
    seconds: float
    wall_seconds: float
    peak_rss: int

    @property
    def kernel_bytes(self) -> int:
        return self.chunks * CHUNK

    @property
    def rows_per_mib(self) -> float:
        return self.rows * _MIB / self.text_bytes

    @property
    def bytes_per_mib(self) -> float:
        return self.kernel_bytes * _MIB / self.text_bytes


def executables() -> dict[str, Path]:
    """Those that this machine has, by name."""
    compiler = _output("gcc", "-print-prog-name=cc1")
    found = {
        "libc": _mapped("libc.so.6"),
        "python": _mapped("python3.11") or _first("/usr/bin", "python3"),
        "libpython": _first(str(Path.home()), ".pyenv/versions/*/lib/libpython3.1?.so.1.0")
        or _first("/usr/lib", "x86_64-linux-gnu/libpython3.1?.so.1.0"),
        "libcrypto": _first("/usr/lib", "x86_64-linux-gnu/libcrypto.so.3"),
        "libstdc++": _first("/usr/lib", "x86_64-linux-gnu/libstdc++.so.6"),
        "git": _which("git"),
        "libjvm": _first("/usr/lib/jvm", "*/lib/server/libjvm.so"),
        "node": _which("node"),
        "cc1": Path(compiler) if compiler.startswith("/") else None,
        "rustup": _which("cargo"),
        "go": _which("go") or _first("/usr/local/go/bin", "go"),
    }
    return {name: path.resolve() for name, path in found.items() if path is not None}


def run() -> list[TableResult]:
    """All of them, one after the other. Raises BenchmarkError."""
    with tempfile.TemporaryDirectory(prefix="parca-agent-bench-", dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        stage = Path(directory) / "collector"
        # where the worker's user can read it
        shutil.copytree(STAGE, stage, ignore=shutil.ignore_patterns("grpc"))
        return [measure(stage, name, path) for name, path in executables().items()]


def measure(stage: Path, name: str, path: Path) -> TableResult:
    """One table by a worker that has made none before."""
    with _worker(stage) as (worker, client), path.open("rb") as file:
        try:
            segments = client.describe(file.fileno()).segments
            cpu, wall = processes.cpu_seconds(worker), time.monotonic()
            table = client.unwind(file.fileno())
        except WorkerError as error:
            raise BenchmarkError(f"the unwind table of {name}: {error}") from error
        return TableResult(
            name=name,
            text_bytes=sum(size for _, _, size in segments),
            rows=table.rows,
            page_shift=table.page_shift,
            chunks=len(table.chunks),
            left_out=table.left_out,
            refused=table.refused,
            seconds=processes.cpu_seconds(worker) - cpu,
            wall_seconds=time.monotonic() - wall,
            peak_rss=processes.peak_rss(worker),
        )


@contextlib.contextmanager
def _worker(stage: Path) -> Iterator[tuple[int, ElfClient]]:
    """A worker as the supervisor starts it, and who asks it."""
    socket = stage.parent / "elf.sock"
    command = (str(PYTHON), "-I", "-S", "-B", str(stage), "elf")
    with sockets.listen(socket, 0, 0, 0o600) as listener:
        privileges = spawn.unprivileged(NOBODY, NOBODY)
        child = spawn.start(privileges, command, 2, [(listener.fileno(), "elf")])
        client = ElfClient(str(socket), TABLE_DEADLINE)
        try:
            yield child.pid, client
        finally:
            client.close()
            os.kill(child.pid, 9)
            os.waitpid(child.pid, 0)
            os.close(child.pidfd)


def render(results: Sequence[TableResult]) -> str:
    """One line a table."""
    header = ["table", "text MiB", "rows", "rows/MiB", "chunks", "KiB/MiB", "page", "s", "peak MiB"]
    rows = [header, *map(_row, results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _row(one: TableResult) -> list[str]:
    return [
        one.name,
        f"{one.text_bytes / _MIB:.1f}",
        f"{one.rows:,}",
        f"{one.rows_per_mib:,.0f}",
        f"{one.chunks:,}",
        f"{one.bytes_per_mib / 1024:.0f}",
        f"{1 << one.page_shift >> 10} KiB",
        f"{one.seconds:.2f}",
        f"{one.peak_rss / _MIB:.0f}",
    ]


def _which(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _first(directory: str, pattern: str) -> Path | None:
    return next(iter(sorted(Path(directory).glob(pattern))), None)


def _mapped(name: str) -> Path | None:
    """A file of this process."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next((Path(line.split(maxsplit=5)[5]) for line in lines if line.endswith(name)), None)


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
