# SPDX-License-Identifier: Apache-2.0
"""The profile of a program whose truth is known: where it spends its time, and how much of it.

Other work may share the machine, so the truth is the program's own CPU time, of each function, and
it runs with the highest priority: of a process that has a CPU half the time, 20 seconds of samples
at 99 Hz would tell no better than ± 2 % by chance alone.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel import programs
from tests.kernel.agent import Agent, Row

pytestmark = pytest.mark.root

HZ = 99
CYCLES = 20
FUNCTIONS = ("sixty", "thirty", "ten")

# One cycle is about a second, long against the 10 ms between samples: so each cycle is sampled
# evenly and chance has little say. `unit` is how much of the loop makes a hundredth of it, roughly:
# processors run the same loop at different speeds, by where it lies.
THREE_FUNCTIONS = """
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#define FUNCTION(name) \\
    __attribute__((noinline)) static void name(unsigned long n) \\
    { for (volatile unsigned long i = 0; i < n; i++); }
FUNCTION(sixty) FUNCTION(thirty) FUNCTION(ten) FUNCTION(gauge)

static double cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double timed(void (*function)(unsigned long), unsigned long n)
{
    double begun = cpu();
    function(n);
    return cpu() - begun;
}

int main(void)
{
    unsigned long probe = 50000000;
    unsigned long unit = probe / timed(gauge, probe) / 100;
    double spent[3] = { 0 };
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        spent[0] += timed(sixty, 60 * unit);
        spent[1] += timed(thirty, 30 * unit);
        spent[2] += timed(ten, 10 * unit);
    }
    printf("%f %f %f %f\\n", cpu(), spent[0], spent[1], spent[2]);
}
"""


@dataclass(frozen=True)
class Observed:
    """CPU seconds the program says it used, in all and in each function, and the samples it got."""

    seconds: float
    spent: dict[str, float]
    rows: list[Row]
    sleeper: int
    everything: list[Row]

    @property
    def samples(self) -> int:
        return sum(row.value for row in self.rows)


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory, readable: Path) -> Iterator[Observed]:
    flags = ("-O1", "-fno-omit-frame-pointer", f"-DCYCLES={CYCLES}")
    program = programs.build(readable / "three", THREE_FUNCTIONS, *flags)
    cpu = max(os.sched_getaffinity(0))
    command = ["nice", "-n", "-20", "taskset", "-c", str(cpu), program]
    with programs.running("sleep", "300") as sleeper:
        time.sleep(0.5)  # its exec and its start are work, and not what is measured
        with Agent(tmp_path_factory.mktemp("agent"), hz=HZ, window_seconds=10) as agent:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            output, _ = process.communicate(timeout=120)
            assert agent.stop() == 0, agent.output()
            rows = agent.rows(pid=str(process.pid))
            seconds, *spent = map(float, output.split())
            shares = dict(zip(FUNCTIONS, spent, strict=True))
            yield Observed(seconds, shares, rows, sleeper.pid, agent.rows())


def test_shares_of_three_functions(observed: Observed) -> None:
    leaves: Counter[str] = Counter()
    for row in observed.rows:
        leaves[row.stack[0]] += row.value
    in_cycles = observed.samples - leaves["gauge"]
    spent = sum(observed.spent.values())
    for name, seconds in observed.spent.items():
        seen, true = leaves[name] / in_cycles, seconds / spent
        print(f"{name}: {seen:.4f} of the samples, {true:.4f} of the time")
        assert seen == pytest.approx(true, abs=0.02)


def test_samples_are_cpu_time(observed: Observed) -> None:
    expected = observed.seconds * HZ
    print(f"{observed.samples} samples, {expected:.1f} expected")
    assert observed.seconds > CYCLES / 2
    assert observed.samples == pytest.approx(expected, rel=0.02)


def test_idle_adds_nothing(observed: Observed) -> None:
    assert not [row for row in observed.everything if row.labels["pid"] == str(observed.sleeper)]
    assert not [row for row in observed.everything if row.labels["pid"] == "0"]
