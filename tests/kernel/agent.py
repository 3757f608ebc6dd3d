# SPDX-License-Identifier: Apache-2.0
"""The whole agent, started as `make run` starts it, for tests that look at it from outside.

One agent runs at a time on a machine, so tests share one per module where they can.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collector.model import Profile
from collector.report.decode import decode
from collector.spool.reader import SpoolReader
from supervisor.layout import Layout
from tests.doubles.parca_rules import check_request

ROOT = Path(__file__).parents[2]
STAGE = ROOT / "build/stage"
LAYOUT = Layout()


@dataclass(frozen=True)
class Row:
    """One sample of one spooled window: its labels, function names leaf first, and count."""

    labels: dict[str, str]
    stack: tuple[str, ...]
    value: int


@dataclass
class Agent:
    """`with Agent(directory):` runs from the first answer of the collector to a clean end.

    `prefix` is put before the command, such as unshare(1) with its arguments. `settings` is
    more of the operator's file, in YAML.
    """

    directory: Path
    hz: int = 99
    window_seconds: int = 2
    threads: bool = False
    unwinding: str = "auto"
    prefix: tuple[str, ...] = ()
    settings: str = ""
    newest: str = field(default="", init=False)

    def __enter__(self) -> Agent:
        LAYOUT.spool.mkdir(parents=True, exist_ok=True)
        self.newest = max((name for name, _ in self.raw_windows()), default="")
        config = self.directory / "agent.yaml"
        config.write_text(
            f"sampling: {{window_seconds: {self.window_seconds}, threads: {self.threads},"
            f" unwinding: {self.unwinding}}}\n" + self.settings
        )
        self.log = self.directory / "supervisor.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(*self.prefix, sys.executable, "-m", "supervisor", "run"),
                    *("--stage", STAGE, "--out", self.directory / "out"),
                    *("--hz", str(self.hz), "--config", config),
                ],
                *(-1, None, subprocess.DEVNULL, log, log),
                cwd=ROOT,
            )
        try:
            self.wait_for(lambda: self.status()["sampling"], 30)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def supervisor(self) -> int:
        """Pid of the supervisor, which a prefix may stand before."""
        pid = self.process.pid
        while comm(pid) != "parca-agent-sup":
            (pid,) = children(pid)
        return pid

    def pid_of(self, role: str) -> int | None:
        """Pid of the process that runs a role of the collector; None while there is none.

        The two ELF workers have the roles "elf" and "tables".
        """
        for pid in children(self.supervisor):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                name = b"" if role == "elf" and b"tables" in words else role.encode()
                if words[0].endswith(b"python3") and name in words[:-1]:
                    return pid
        return None

    def stop(self) -> int:
        """Ends it as Ctrl-C does; its exit status."""
        if self.process.poll() is None:
            try:
                os.kill(self.supervisor, signal.SIGINT)
            except (ValueError, ProcessLookupError, FileNotFoundError):
                self.process.terminate()
        return self.process.wait(60)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, wanted: Any, seconds: float) -> Any:
        """The first true value of `wanted()`; fails with the agent's output."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if value := wanted():
                    return value
            except (OSError, ValueError):
                pass  # not listening yet
            time.sleep(0.1)
        raise AssertionError(f"waited in vain; the agent says:\n{self.output()}")

    def answer(self) -> bytes:
        """What the status socket says."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(f"/proc/{self.supervisor}/root{LAYOUT.status_socket}")
            parts = []
            while part := connection.recv(1 << 16):
                parts.append(part)
        return b"".join(parts)

    def status(self) -> Any:
        return json.loads(self.answer())

    def outcomes(self) -> dict[str, int]:
        return self.status()["samples"]["outcomes"]

    def raw_windows(self) -> list[tuple[str, bytes]]:
        """Name and payload of each window of this run."""
        reader = SpoolReader(LAYOUT.spool)
        try:
            return [(name, reader.read(name)[1]) for name in reader.names(after=self.newest)]
        finally:
            reader.close()

    def rows(self, **labels: str) -> list[Row]:
        """All samples of this run that carry these labels."""
        return [
            Row(dict(row.labels), tuple(row.stack), row.value)
            for _, payload in self.raw_windows()
            for row in check_request(payload)
            if labels.items() <= dict(row.labels).items()
        ]

    def profiles(self) -> list[Profile]:
        """The windows of this run, with all that is known of each frame."""
        return [decode(payload) for _, payload in self.raw_windows()]

    def next_window(self, count: int = 1) -> None:
        """Waits until `count` windows have begun and ended after this call."""
        wanted = len(self.raw_windows()) + count + 1
        self.wait_for(
            lambda: len(self.raw_windows()) >= wanted, 20 + (count + 1) * self.window_seconds
        )


def children(pid: int) -> list[int]:
    """Direct children of a process, whichever of its threads made them."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if fields.get("PPid") == str(pid):
            found.append(int(status.parent.name))
    return sorted(found)


def descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from descendants(child)


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
