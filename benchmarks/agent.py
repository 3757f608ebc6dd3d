# SPDX-License-Identifier: Apache-2.0
"""The agent as `make run` starts it, and what it has used up at one moment."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import kernel, processes
from loader.pin import ITERATORS, MAPS
from supervisor.layout import Layout

ROOT = Path(__file__).parents[1]
LAYOUT = Layout()
START_SECONDS = 60.0


class BenchmarkError(Exception):
    """The agent cannot be measured: its own words."""


@dataclass(frozen=True, slots=True)
class Used:
    """At one moment: seconds of CPU by role, runs by program, the status answer, machine totals."""

    at: float
    cpu: dict[str, float]
    runs: dict[str, kernel.Runs]
    status: dict[str, Any]
    machine_cpu: float
    forks: int


class Agent:
    """A running agent, the programs it loaded held open."""

    def __init__(self, supervisor: int) -> None:
        self.supervisor = supervisor
        self._programs = _programs(next(LAYOUT.pins.glob("gen-*")))

    def used(self) -> Used:
        pids = processes.roles(self.supervisor)
        cpu = {role: processes.cpu_seconds(pid) for role, pid in pids.items()}
        # both workers as one: they are the only children that end by themselves
        workers = cpu.get("elf", 0.0) + cpu.pop("tables", 0.0)
        cpu["elf"] = workers + processes.reaped_seconds(self.supervisor)
        cpu[processes.SUPERVISOR] = processes.cpu_seconds(self.supervisor)
        runs: dict[str, kernel.Runs] = {}
        for program in self._programs:
            runs[program.name] = program.runs()
        return Used(
            at=time.monotonic(),
            cpu=cpu,
            runs=runs,
            status=status(),
            machine_cpu=processes.machine_cpu_seconds(),
            forks=processes.forks(),
        )

    def memory(self) -> dict[str, processes.Memory]:
        pids = processes.roles(self.supervisor)
        return {role: processes.memory(pid) for role, pid in pids.items()}

    def maps(self) -> dict[str, int]:
        """Bytes of every map that a program of the agent uses, also those nobody may open."""
        numbers = {number for program in self._programs for number in program.map_ids}
        sizes: dict[str, int] = {}
        for name, size in map(kernel.map_memory, sorted(numbers)):
            sizes[name] = sizes.get(name, 0) + size
        return sizes

    def close(self) -> None:
        for program in self._programs:
            program.close()


def _programs(generation: Path) -> list[kernel.Program]:
    """One of each name: every CPU's link runs the same sampler."""
    pins = [pin for pin in sorted(generation.iterdir()) if pin.name not in MAPS]
    programs: dict[str, kernel.Program] = {}
    for pin in pins:
        of = kernel.Program.of_pin if pin.name in ITERATORS else kernel.Program.of_link
        program = of(pin)
        if program.name in programs:
            program.close()
        else:
            programs[program.name] = program
    return list(programs.values())


def status() -> dict[str, Any]:
    """What the collector answers."""
    parts = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(LAYOUT.status_socket))
        while part := connection.recv(1 << 16):
            parts.append(part)
    answer = json.loads(b"".join(parts))
    return dict(answer)


@contextlib.contextmanager
def running(directory: Path, frequency: int, settings: str = "") -> Iterator[Agent]:
    """The agent from its first answer on, `settings` the operator's file in YAML.

    BenchmarkError when it does not come up.
    """
    log, config = directory / "log", directory / "agent.yaml"
    config.write_text(settings)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "supervisor", "run", "--stage", ROOT / "build/stage"),
                *("--out", directory / "out", "--hz", str(frequency), "--config", config),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_for_answer(process, log)
        agent = Agent(process.pid)
        yield agent
        agent.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _wait_for_answer(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            status()
            return
        time.sleep(0.1)
    said = log.read_text(errors="replace")
    raise BenchmarkError(f"the agent did not come up:\n{said}")
