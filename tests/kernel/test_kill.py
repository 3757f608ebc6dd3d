# SPDX-License-Identifier: Apache-2.0
"""kill -9 of any process of the agent, at any time, and what it costs: nothing that is not counted.

One agent with a Parca to ship to lives through all tests of this file, from the first to the
last, with both CPUs busy. What is compared are counts made independently of each other: the
outcomes in the kernel, whose map the test holds open; the windows in the spool; and what arrived.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collector.read import decode
from collector.spool import cursor, files
from collector.spool.reader import SpoolReader
from libbpf import abi
from libbpf.maps import Map
from tests.doubles.parca import Fault, Parca
from tests.doubles.parca_rules import check_request
from tests.kernel import programs
from tests.kernel.agent import LAYOUT, Agent

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

DESTINATION = "kill-test"
HEARTBEAT_LIMIT = 15.0
"""Of max(3 windows, 15 s), the one that holds for windows of a second."""
A_SAMPLE = 0.1
"""Seconds; an interrupt that began before a moment is long over."""
LONG = 10.0
"""Seconds that a request is kept waiting; its sender is dead sooner."""

BUSY = """
static volatile unsigned long sink;
__attribute__((noinline)) static void spin(void) { for (int i = 0; i < 100000; i++) sink++; }
int main(void) { for (;;) spin(); }
"""


@dataclass
class Run:
    """An agent under load, and what can be seen of it from outside."""

    agent: Agent
    parca: Parca
    program: Path
    counters: Map
    control: Map
    kills: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=lambda: random.Random(3))

    def outcomes(self) -> dict[str, int]:
        """As the kernel counts them."""
        counted = decode.counters(self.counters.lookup_per_cpu(bytes(4)))
        return {name: counted[name] for name in decode.COUNTER_NAMES[: abi.OUTCOMES]}

    def heartbeat(self) -> float:
        """When the collector beat last, on the clock of time.monotonic()."""
        return decode.control_of(self.control.lookup(bytes(4)) or b"")[0] / 1e9

    def sleep_a_little(self) -> None:
        """Any moment within a window is as likely as any other."""
        time.sleep(self.chance.uniform(0, self.agent.window_seconds))

    def kill(self, role: str) -> int:
        """kill -9; the dead process's pid."""
        pid: int = self.agent.wait_for(lambda: self.agent.pid_of(role), 30)
        os.kill(pid, signal.SIGKILL)
        self.kills[role] += 1
        return pid

    def wait_for_next(self, role: str, dead: int) -> list[dict[str, int]]:
        """Waits for the replacement; what was counted while there was none."""
        counted: list[dict[str, int]] = []
        while True:
            outcomes, pid = self.outcomes(), self.agent.pid_of(role)
            if pid not in (None, dead):
                return counted
            if pid is None:
                counted.append(outcomes)
            assert self.agent.process.poll() is None, self.agent.output()
            time.sleep(0.01)

    def wait_for_answer(self) -> None:
        self.agent.wait_for(lambda: self.agent.status()["sampling"], 30)

    def spooled(self) -> set[str]:
        """Digest of each window since the beginning of this run."""
        return {digest for digest, _, _ in self.windows()}

    def windows(self) -> Iterator[tuple[str, int, int]]:
        """Digest of the payload, samples by the header and by the payload; all readable."""
        reader = SpoolReader(LAYOUT.spool)
        try:
            for name in reader.names(after=self.agent.newest):
                header, payload = reader.read(name)
                profiled = sum(row.value for row in check_request(payload))
                yield hashlib.sha256(payload).hexdigest(), header.samples, profiled
        finally:
            reader.close()

    def repeats(self) -> dict[str, int]:
        """Windows that arrived more than once, and how often too many."""
        return {
            one: count - 1 for one, count in Counter(self.parca.accepted()).items() if count > 1
        }


@contextlib.contextmanager
def start(directory: Path, parca: Parca, program: Path) -> Iterator[Run]:
    destination = f"{{name: {DESTINATION}, address: '{parca.address}', insecure: true}}"
    settings = f"destinations: [{destination}]\n"
    with (
        Agent(directory, window_seconds=1, settings=settings) as agent,
        contextlib.ExitStack() as stack,
    ):
        pins = LAYOUT.pins / "gen-1"
        counters = Map.open_pin(str(pins / "counters"), read_only=True)
        stack.callback(os.close, counters.fd)
        control = Map.open_pin(str(pins / "control"), read_only=True)
        stack.callback(os.close, control.fd)
        yield Run(agent, parca, program, counters, control)


@pytest.fixture(scope="module")
def parca() -> Iterator[Parca]:
    """It knows no window of the time before: the cursor begins behind them."""
    with Parca() as double:
        begin_behind_the_newest_window()
        yield double
    (LAYOUT.ship / f"{DESTINATION}.json").unlink(missing_ok=True)


def begin_behind_the_newest_window() -> None:
    newest = max((path.name for path in LAYOUT.spool.glob("*.window")), default="")
    if newest and LAYOUT.ship.exists():
        directory = files.open_directory(LAYOUT.ship)
        cursor.store(directory, cursor.Cursor(DESTINATION, acknowledged=newest))
        os.close(directory)


@pytest.fixture(scope="module")
def program(readable: Path) -> Iterator[Path]:
    """A program of which one runs on each of two CPUs."""
    path = programs.build(readable / "busy", BUSY, "-O1", "-fno-omit-frame-pointer")
    with programs.running(path), programs.running(path):
        yield path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, parca: Parca, program: Path) -> Iterator[Run]:
    with start(tmp_path_factory.mktemp("agent"), parca, program) as made:
        yield made


def test_sampling_goes_on_while_the_collector_is_dead(run: Run) -> None:
    for _ in range(3):
        run.sleep_a_little()
        before = run.agent.outcomes()
        first, *_, last = run.wait_for_next("collect", run.kill("collect"))
        assert last["recorded"] > first["recorded"]
        run.wait_for_answer()
        after = run.agent.outcomes()
        assert all(after[name] >= before[name] for name in before)
        assert after["recorded"] >= last["recorded"]
        assert after["skipped_no_heartbeat"] == before["skipped_no_heartbeat"]


def test_a_shipper_killed_at_any_moment_is_replaced(run: Run) -> None:
    for _ in range(2):
        run.sleep_a_little()
        run.wait_for_next("ship", run.kill("ship"))
        wait_for_more(run.parca, 2)


def test_a_shipper_killed_amid_a_request_repeats_that_one_alone(run: Run) -> None:
    before = sum(run.repeats().values())
    run.parca.faults.append(Fault(delay=LONG))
    run.agent.wait_for(lambda: not run.parca.faults, 30)
    run.wait_for_next("ship", run.kill("ship"))
    wait_for_more(run.parca, 3)
    assert sum(run.repeats().values()) == before + 1


def wait_for_more(parca: Parca, windows: int) -> None:
    """Until so many have arrived after this call."""
    assert parca.wait_for(accepted=len(parca.accepted()) + windows)


def test_a_killed_worker_costs_no_name(run: Run) -> None:
    for number in range(2):
        with fresh(run, f"read-{number}") as name:
            run.sleep_a_little()
            dead = run.kill("elf")
            run.agent.wait_for(lambda name=name: has_names(run, name), 30)
            assert run.agent.pid_of("elf") != dead


@pytest.mark.parametrize("victims", [("elf",), ("collect", "elf")], ids="-".join)
def test_killed_amid_a_window_that_waits_for_the_worker(run: Run, victims: tuple[str, ...]) -> None:
    """The set is drained by then and the window not in the spool; see check_conservation."""
    with fresh(run, "before-" + victims[0]):
        worker: int = run.agent.wait_for(lambda: run.agent.pid_of("elf"), 30)
    os.kill(worker, signal.SIGSTOP)
    with fresh(run, "amid-" + victims[0]) as name:
        time.sleep(2 * run.agent.window_seconds)
        for role in victims:
            run.kill(role)
        run.agent.wait_for(lambda: has_names(run, name), 30)
    assert run.agent.pid_of("elf") != worker


@contextlib.contextmanager
def fresh(run: Run, name: str) -> Iterator[str]:
    """A running program that no worker has read."""
    path = shutil.copy(run.program, run.program.with_name(name))
    with programs.running(path):
        yield name


def has_names(run: Run, name: str) -> bool:
    """Whether a profile with the name of what it runs has arrived."""
    return any(stack[0] == "spin" for stack in run.parca.stacks(comm=name))


def test_all_of_them_killed_at_once(run: Run) -> None:
    before = run.agent.outcomes()
    with fresh(run, "all") as name:
        run.sleep_a_little()
        dead = {role: run.kill(role) for role in ("elf", "collect", "ship")}
        run.wait_for_answer()
        wait_for_more(run.parca, 2)
        run.agent.wait_for(lambda: has_names(run, name), 30)
        assert all(run.agent.pid_of(role) != pid for role, pid in dead.items())
    after = run.agent.outcomes()
    assert after["recorded"] > before["recorded"]
    assert after["skipped_no_heartbeat"] == before["skipped_no_heartbeat"]


def test_sampling_stops_when_the_collector_stands_still(run: Run) -> None:
    pid: int = run.agent.wait_for(lambda: run.agent.pid_of("collect"), 30)
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped, limit = run.outcomes(), run.heartbeat() + HEARTBEAT_LIMIT
        before, after = counts_around(run, limit)
        time.sleep(1)
        later = run.outcomes()
        assert run.agent.pid_of("collect") == pid
    finally:
        os.kill(pid, signal.SIGCONT)
    assert before["recorded"] > stopped["recorded"]
    assert before["skipped_no_heartbeat"] == stopped["skipped_no_heartbeat"]
    assert later["skipped_no_heartbeat"] > after["skipped_no_heartbeat"]
    assert later | {"skipped_no_heartbeat": 0} == after | {"skipped_no_heartbeat": 0}
    run.agent.wait_for(lambda: run.outcomes()["recorded"] > later["recorded"], 30)
    assert run.agent.outcomes()["skipped_no_heartbeat"] >= later["skipped_no_heartbeat"]


def counts_around(run: Run, moment: float) -> tuple[dict[str, int], dict[str, int]]:
    """The last outcomes read before a moment, and the first ones after it."""
    before = run.outcomes()
    while True:
        began, outcomes = time.monotonic(), run.outcomes()
        if time.monotonic() < moment:
            before = outcomes
        elif began > moment + A_SAMPLE:
            return before, outcomes
        time.sleep(0.05)


def test_stopping_ends_sampling_within_a_second(run: Run) -> None:
    run.sleep_a_little()
    os.kill(run.agent.supervisor, signal.SIGINT)
    time.sleep(1)
    outcomes = run.outcomes()
    assert run.agent.process.wait(60) == 0, run.agent.output()
    assert run.outcomes() == outcomes
    check_conservation(run)


def check_conservation(run: Run) -> None:
    """The kernel, the headers and the profiles tell the same number."""
    windows = list(run.windows())
    assert sum(samples for _, samples, _ in windows) == run.outcomes()["recorded"]
    assert sum(profiled for _, _, profiled in windows) == run.outcomes()["recorded"]


def test_what_was_left_arrives_and_nothing_twice(
    run: Run, parca: Parca, program: Path, tmp_path: Path
) -> None:
    left = run.spooled()
    with start(tmp_path, parca, program) as again:
        again.agent.wait_for(lambda: left <= set(parca.accepted()), 30)
        again.sleep_a_little()
        again.kill("collect")
        os.kill(again.agent.supervisor, signal.SIGINT)
        assert again.agent.process.wait(60) == 0, again.agent.output()
        check_conservation(again)
    assert set(parca.accepted()) <= run.spooled()
    assert all(request.accepted for request in parca.requests)
    repeats = run.repeats()
    assert set(repeats.values()) <= {1}
    assert len(repeats) <= run.kills["ship"]
    print(f"{dict(run.kills)} killed, {len(repeats)} windows repeated of {len(left)}")
