# SPDX-License-Identifier: Apache-2.0
"""The agent beside perf record on the same work: `make` of libbpf, all at 19 Hz.

What an observer costs shows in two places: in its own processes, and in the work, whose time
grows by what the kernel does for the observer in its interrupts. Rounds take turns, so that a
machine that grows slow does so for all.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import agent, kernel
from benchmarks.claims import Claim

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "build/libbpf/src"
HZ = 19
ROUNDS = 3
PERF = {
    "perf record -g": ("-g",),
    "perf record --call-graph dwarf": ("--call-graph", "dwarf"),
}
NOTHING, AGENT = "nothing", "the agent"


@dataclass(frozen=True, slots=True)
class Beside:
    """Medians over the rounds, seconds of CPU and bytes.

    own is what the observer's processes and, for the agent, its BPF programs took; work what
    the compilation took meanwhile; written what was left on disk.
    """

    observer: str
    elapsed: float
    work: float
    own: float
    written: int


@dataclass(slots=True)
class _Cost:
    own: float = 0.0
    written: int = 0


_Observer = Callable[[Path], AbstractContextManager[_Cost]]


def run() -> list[Beside]:
    """Each observer ROUNDS times, in turns; perf only where it is installed."""
    observers: dict[str, _Observer] = {NOTHING: _nothing, AGENT: _agent}
    if shutil.which("perf"):
        observers |= {name: _perf(arguments) for name, arguments in PERF.items()}
    rounds: dict[str, list[Beside]] = {name: [] for name in observers}
    with tempfile.TemporaryDirectory(prefix="parca-agent-bench-", dir="/var/tmp") as directory:
        _make(Path(directory))  # the page cache is warm for all
        for number in range(ROUNDS):
            for name, observer in observers.items():
                print(f"beside {name}, round {number + 1} …", file=sys.stderr, flush=True)
                rounds[name].append(_round(name, observer, Path(directory)))
    return [_median(name, found) for name, found in rounds.items()]


def _round(name: str, observer: _Observer, directory: Path) -> Beside:
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        with observer(Path(scratch)) as cost:
            elapsed, work = _make(directory)
        return Beside(name, elapsed, work, cost.own, cost.written)


def _median(name: str, rounds: list[Beside]) -> Beside:
    def middle(field: str) -> float:
        return statistics.median(getattr(one, field) for one in rounds)

    return Beside(name, middle("elapsed"), middle("work"), middle("own"), int(middle("written")))


def _make(directory: Path) -> tuple[float, float]:
    """Seconds, and seconds of CPU, that `make -j` of libbpf takes."""
    shutil.rmtree(directory / "source", ignore_errors=True)
    shutil.copytree(SOURCE, directory / "source")
    command = ["make", "-s", f"-j{os.cpu_count()}", "-C", str(directory / "source/src")]
    environment = {key: text for key, text in os.environ.items() if not key.startswith("MAKE")}
    before = _children()
    began = time.monotonic()
    subprocess.run(
        [*command, "BUILD_STATIC_ONLY=y", "OBJDIR=objects"],
        env=environment, stdout=subprocess.DEVNULL, check=True, timeout=600,
    )  # fmt: skip
    return time.monotonic() - began, _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return float(used.ru_utime + used.ru_stime)


@contextlib.contextmanager
def _nothing(_: Path) -> Iterator[_Cost]:
    yield _Cost()


@contextlib.contextmanager
def _agent(scratch: Path) -> Iterator[_Cost]:
    cost = _Cost()
    with kernel.statistics(), agent.running(scratch, HZ) as measured:
        time.sleep(5.0)  # what it does once, at its start, is measured elsewhere
        before = measured.used()
        yield cost
        after = measured.used()
        runs = [after.runs[name].since(before.runs[name]) for name in after.runs]
        roles = [role for role in after.cpu if role != "supervisor"]
        cost.own = sum(after.cpu[role] - before.cpu.get(role, 0.0) for role in roles)
        cost.own += sum(one.nanoseconds for one in runs) / 1e9
    cost.written = sum(path.stat().st_size for path in (scratch / "out").rglob("*.pb.gz"))


def _perf(arguments: tuple[str, ...]) -> _Observer:
    @contextlib.contextmanager
    def observe(scratch: Path) -> Iterator[_Cost]:
        cost = _Cost()
        data = scratch / "perf.data"
        command = ["perf", "record", "-q", "-F", str(HZ), "-a", *arguments, "-o", str(data)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            time.sleep(1.0)
            yield cost
        finally:
            process.send_signal(signal.SIGINT)
            _, _, used = os.wait4(process.pid, 0)
        cost.own = used.ru_utime + used.ru_stime
        cost.written = data.stat().st_size

    return observe


def render(found: list[Beside]) -> str:
    """One line an observer."""
    base = next((one.work for one in found if one.observer == NOTHING), 0.0)
    lines = ["make of libbpf beside               elapsed    work  of alone      own   written"]
    lines += [
        f"{one.observer:<34}{one.elapsed:8.1f}s{one.work:7.1f}s"
        f"{one.work / base if base else 0:9.3f}{one.own:8.2f}s{one.written / 2**20:7.1f} MiB"
        for one in found
    ]
    return "\n".join(lines)


def claims(found: list[Beside]) -> list[Claim]:
    """The agent's own CPU against perf's that unwinds by DWARF, in the same run."""
    by_name = {one.observer: one for one in found}
    ours, theirs = by_name.get(AGENT), by_name.get("perf record --call-graph dwarf")
    if ours is None or theirs is None:
        return []
    ratio = ours.own / max(theirs.own, 0.001)
    return [Claim("CPU of the agent over perf's with DWARF, make -j, 19 Hz", ratio, 1, 3)]


if __name__ == "__main__":
    print(render(run()))
