# SPDX-License-Identifier: Apache-2.0
"""No sample is lost or counted twice, wherever the collector is killed.

Three counts that are made independently must agree exactly: how often the kernel ran the sampler
(bpf_stats), the sum of its outcome counters, and the samples in the windows of the spool.
PARCA_AGENT_TESTS_FULL=1: 10^7 samples and 1,000 flips instead of what fits half a minute.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.kernel import Program, statistics
from collector.read import decode
from collector.spool.format import Header
from collector.spool.reader import SpoolReader
from libbpf import abi
from libbpf.maps import Map
from supervisor import mounts
from tests.doubles.parca_rules import check_request
from tests.kernel import programs
from tests.kernel.agent import LAYOUT, Agent, children
from tests.loader.stand import Stand, make

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

FULL = bool(os.environ.get("PARCA_AGENT_TESTS_FULL"))
SAMPLES, FLIPS = (10_000_000, 1_000) if FULL else (400_000, 100)
FREQUENCY = 20_000
SECONDS_BETWEEN_KILLS = 4.0 if FULL else 1.5
STEPS = 24
"""More changes than one window takes: see test_a_kill_before_each_change."""

BUSY = """
#include <unistd.h>
static volatile unsigned long sink;
__attribute__((noinline)) static void work(int depth)
{
    if (depth) work(depth - 1); else for (int i = 0; i < 3000; i++) sink++;
    sink++;
}
int main(void) { for (unsigned i = 0;; i++) { work(i % 40); if (i % 7 == 0) getppid(); } }
"""


@dataclass
class Sampling:
    """A loaded generation that samples, and what counts it."""

    stand: Stand
    spool: Path
    sampler: Program
    counters: Map

    def outcomes(self) -> dict[str, int]:
        counted = decode.counters(self.counters.lookup_per_cpu(bytes(4)))
        return {name: counted[name] for name in decode.COUNTER_NAMES[: abi.OUTCOMES]}

    def drainer(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.kernel.drainer", self.stand.layout.pins, self.spool]
        return subprocess.Popen([*map(str, command), *arguments])

    def finish(self, drainer: subprocess.Popen[bytes]) -> None:
        """Ends sampling, then the drainer, as the supervisor does it."""
        self.wait_for_window()
        mounts.stop_sampling(self.stand.layout.pins)
        drainer.terminate()
        assert drainer.wait(60) == 0

    def wait_for_window(self) -> None:
        """Returns when the running drainer has written one more."""
        before = len(self.windows())
        while len(self.windows()) == before:
            time.sleep(0.01)

    def windows(self) -> list[Header]:
        return headers(self.spool)

    def runs(self) -> int:
        """Runs of the sampler, once its links are gone: that takes the kernel a moment."""
        before = -1
        while before != (before := self.sampler.runs().count):
            time.sleep(0.2)
        return before


def headers(spool: Path, after: str = "") -> list[Header]:
    reader = SpoolReader(spool)
    try:
        return [reader.header(name) for name in reader.names(after)]
    finally:
        reader.close()


@contextlib.contextmanager
def load(stand: Stand, spool: Path, frequency: int) -> Iterator[Sampling]:
    stand.configure(frequency=frequency, window_seconds=10)
    subprocess.run(stand.command(), check=True, timeout=60)
    pins = stand.layout.pins / "gen-1"
    sampler = Program.of_link(pins / "sample-0")
    counters = Map.open_pin(str(pins / "counters"), read_only=True)
    try:
        yield Sampling(stand, spool, sampler, counters)
    finally:
        mounts.remove_pins(stand.layout.pins)
        os.close(counters.fd)
        sampler.close()


@pytest.fixture
def stand() -> Iterator[Stand]:
    with make() as made, statistics():
        yield made


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    return path


@pytest.fixture
def busy(readable: Path) -> Iterator[None]:
    """Both kernel and user stacks, on every CPU."""
    program = programs.build(readable / "busy", BUSY, "-O1", "-fno-omit-frame-pointer")
    with contextlib.ExitStack() as stack:
        for cpu in sorted(os.sched_getaffinity(0)):
            stack.enter_context(programs.running("nice", "taskset", "-c", str(cpu), program))
        yield


def check(sampling: Sampling) -> dict[str, int]:
    """The three counts agree, and each window is there once."""
    outcomes = sampling.outcomes()
    windows = sampling.windows()
    assert sum(outcomes.values()) == sampling.runs()
    assert sum(window.samples for window in windows) == outcomes["recorded"]
    keys = [(window.generation, window.sequence) for window in windows]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
    return outcomes


def test_random_kills_lose_nothing(stand: Stand, spool: Path, busy: None) -> None:
    chance = random.Random(1)
    with load(stand, spool, FREQUENCY) as sampling:
        drainer, kills = sampling.drainer(), 0
        while sampling.outcomes()["recorded"] < SAMPLES or len(sampling.windows()) < FLIPS:
            time.sleep(chance.uniform(0, 2 * SECONDS_BETWEEN_KILLS))
            drainer.kill()
            assert drainer.wait(10) == -signal.SIGKILL
            drainer, kills = sampling.drainer(), kills + 1
        sampling.finish(drainer)
        outcomes = check(sampling)
        windows = len(sampling.windows())
    print(f"{kills} kills, {windows} windows, {outcomes}")
    assert kills >= 5
    assert outcomes["recorded"] >= SAMPLES
    assert outcomes["lost_internal"] == 0


def test_a_kill_before_each_change_loses_nothing(stand: Stand, spool: Path, busy: None) -> None:
    """Every state a kill can leave behind, one after the other, resumed from the one before."""
    with load(stand, spool, 2_000) as sampling:
        for step in range(1, STEPS):
            drainer = sampling.drainer(str(step))
            assert drainer.wait(30) == -signal.SIGKILL
        sampling.finish(sampling.drainer())
        outcomes = check(sampling)
    assert outcomes["recorded"] > 0


def test_a_new_load_is_not_taken_for_the_old_one(spool: Path, busy: None) -> None:
    """Generation and sequence begin anew with each bpffs while the spool goes on: a window that
    an older load wrote under the same numbers says nothing about the one left behind."""
    with make() as stand, load(stand, spool, 2_000) as sampling:
        # resume 2, flip 2, the file after the spool's first number 6: next is emptying the set
        assert sampling.drainer("11").wait(30) == -signal.SIGKILL
    (old,) = headers(spool)
    assert old.sequence == 0
    assert old.samples > 0
    with make() as stand, load(stand, spool, 2_000) as sampling:
        # window 0 is flipped and not written
        assert sampling.drainer("5").wait(30) == -signal.SIGKILL
        assert sampling.windows() == [old]
        sampling.finish(sampling.drainer())
        new = sampling.windows()[1:]
        assert sum(window.samples for window in new) == sampling.outcomes()["recorded"] > 0


def test_the_real_collector_killed_under_load(tmp_path: Path, busy: None) -> None:
    """What the profiles hold is what the kernel recorded."""
    chance = random.Random(2)
    with Agent(tmp_path, hz=997, window_seconds=1) as agent:
        counters = Map.open_pin(str(LAYOUT.pins / "gen-1/counters"), read_only=True)
        for _ in range(4):
            time.sleep(chance.uniform(1.5, 3))
            os.kill(collector_of(agent), signal.SIGKILL)
            agent.wait_for(lambda: agent.status()["sampling"], 30)
        time.sleep(2)
        assert agent.stop() == 0, agent.output()
        recorded = decode.counters(counters.lookup_per_cpu(bytes(4)))["recorded"]
        os.close(counters.fd)
        spooled = headers(LAYOUT.spool, agent.newest)
        profiled = sum(
            row.value for _, payload in agent.raw_windows() for row in check_request(payload)
        )
    assert sum(window.samples for window in spooled) == recorded > 0
    assert profiled == recorded


def collector_of(agent: Agent) -> int:
    """Pid of the process that runs the role `collect`."""
    for pid in children(agent.supervisor):
        if b"collect" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    raise AssertionError(agent.output())
