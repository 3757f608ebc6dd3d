# SPDX-License-Identifier: Apache-2.0
"""One run: a load, the agent at one rate, and what it took from one moment to another."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import agent, kernel, loads
from benchmarks.agent import Used

SAMPLER = "sample"
STAGES = ("drain", "resolve", "encode")


@dataclass(frozen=True, slots=True)
class Result:
    """What one run showed. CPU is in percent of one core, memory in bytes, times as named.

    cpu_percent is by role; bpf is the time of all programs, supervisor no part of the agent.
    window_milliseconds is CPU time of the collector for one window, by stage. others_percent and
    forks_per_second tell how quiet the machine was besides.
    """

    load: str
    hz: int
    seconds: float
    samples: int
    windows: int
    stacks: int
    processes: int
    dropped: int
    bpf_ns_per_sample: float
    cpu_percent: dict[str, float]
    window_milliseconds: dict[str, float]
    machine_percent: float
    forks_per_second: float
    rss: dict[str, int] = field(default_factory=dict)
    pss: dict[str, int] = field(default_factory=dict)
    maps: dict[str, int] = field(default_factory=dict)

    @property
    def agent_percent(self) -> float:
        """The agent's processes and its programs in the kernel."""
        return sum(value for name, value in self.cpu_percent.items() if name != "supervisor")


def run(program: Path, load: str, hz: int, *, warm_up: float, seconds: float) -> Result:
    """Everything the same for each run: load first, then the agent, then two looks at it."""
    with (
        tempfile.TemporaryDirectory(prefix="parca-agent-bench-", dir="/var/tmp") as directory,
        loads.running(program, load),
        kernel.statistics(),
        agent.running(Path(directory), hz) as measured,
    ):
        time.sleep(warm_up)
        before = measured.used()
        time.sleep(seconds)
        after = measured.used()
        memory = measured.memory()
        return result(
            load,
            hz,
            before,
            after,
            rss={role: item.rss for role, item in memory.items()},
            pss={role: item.pss for role, item in memory.items()},
            maps=measured.maps(),
        )


def result(
    load: str,
    hz: int,
    before: Used,
    after: Used,
    *,
    rss: dict[str, int],
    pss: dict[str, int],
    maps: dict[str, int],
) -> Result:
    """The difference of two looks."""
    seconds = after.at - before.at
    runs = {name: after.runs[name].since(before.runs[name]) for name in after.runs}
    sampler = runs[SAMPLER]
    cpu = {role: after.cpu[role] - before.cpu.get(role, 0.0) for role in after.cpu}
    cpu["bpf"] = sum(one.nanoseconds for one in runs.values()) / 1e9
    windows = _counted("windows", before, after)
    return Result(
        load=load,
        hz=hz,
        seconds=seconds,
        samples=after.status["samples"]["total"] - before.status["samples"]["total"],
        windows=windows,
        stacks=after.status["stacks"]["last_window"],
        processes=after.status["processes"]["last_window"],
        dropped=after.status["samples"]["dropped"] - before.status["samples"]["dropped"],
        bpf_ns_per_sample=sampler.nanoseconds / max(sampler.count, 1),
        cpu_percent={role: 100 * spent / seconds for role, spent in cpu.items()},
        window_milliseconds={
            stage: _counted(f"{stage}_cpu_ns", before, after) / 1e6 / max(windows, 1)
            for stage in STAGES
        },
        machine_percent=100 * (after.machine_cpu - before.machine_cpu) / seconds,
        forks_per_second=(after.forks - before.forks) / seconds,
        rss=rss,
        pss=pss,
        maps=maps,
    )


def _counted(name: str, before: Used, after: Used) -> int:
    key = f"pipeline.{name}"
    return int(after.status["counters"][key]) - int(before.status["counters"][key])
