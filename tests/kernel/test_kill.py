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
from tests.doubles.parca import Parca
from tests.doubles.parca_rules import check_request
from tests.kernel import programs
from tests.kernel.agent import LAYOUT, Agent

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

DESTINATION = "kill-test"
HEARTBEAT_LIMIT = 15.0
"""Of max(3 windows, 15 s), the one that holds for windows of a second."""
ROLES = ("collect", "ship", "elf")

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

    def spooled(self) -> dict[str, int]:
        """Digest of each window since the beginning of this run: samples by its header."""
        return {digest: samples for digest, samples, _ in self.windows()}

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
    with Agent(
        directory, window_seconds=1, settings=f"destinations: [{destination}]\n"
    ) as agent, contextlib.ExitStack() as stack:  # fmt: skip
        pins = str(LAYOUT.pins / "gen-1")
        maps = [Map.open_pin(f"{pins}/{name}", read_only=True) for name in ("counters", "control")]
        for one in maps:
            stack.callback(os.close, one.fd)
        yield Run(agent, parca, program, *maps)


@pytest.fixture(scope="module")
def parca() -> Iterator[Parca]:
    """It knows no window of the time before: the cursor begins behind them."""
    with Parca() as double:
        begin_behind_the_newest_window()
        yield double
    (LAYOUT.ship / f"{DESTINATION}.json").unlink(missing_ok=True)


def begin_behind_the_newest_window() -> None:
    with contextlib.suppress(FileNotFoundError):
        newest = max(path.name for path in LAYOUT.spool.glob("*.window"))
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
def run(
    tmp_path_factory: pytest.TempPathFactory, parca: Parca, program: Path
) -> Iterator[Run]:  # fmt: skip
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
