# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.unwinding [--program NAME]... [--seconds N] [--out FILE]

How whole the stacks of real programs are while they work. Needs root and a built stage; programs
that are not installed are named. Exit status 1: a gate is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import agent, machine, table
from benchmarks.agent import LAYOUT, BenchmarkError
from benchmarks.claims import Claim
from benchmarks.real import LOADS
from benchmarks.real.load import Load
from benchmarks.stacks import Tally, tally
from collector.model import Profile
from collector.report.decode import decode
from collector.spool.reader import SpoolReader

HZ = 199
WINDOW_SECONDS = 2
WARM_UP_SECONDS = 5.0
TABLES_SECONDS = 60.0
SECONDS = 20.0
FEWEST = 200
"""Samples by which a percentage can be judged."""


@dataclass(frozen=True, slots=True)
class Program:
    """The user stacks of one program, or the part of them with code made at run time.

    Percentages of `samples`; reasons are counts of what is not complete. Judged: there is a gate.
    """

    name: str
    samples: int
    complete_percent: float
    attributed_percent: float
    reasons: dict[str, int] = field(default_factory=dict)
    judged: bool = True
    attribution: float = 0.0

    @property
    def incomplete_percent(self) -> float:
        return 100.0 - self.complete_percent


@dataclass(frozen=True, slots=True)
class Absent:
    name: str
    needs: list[str]


def run(loads: Sequence[Load], seconds: float = SECONDS) -> Iterator[Program | Absent]:
    """One agent for all loads, one load at a time. Raises BenchmarkError."""
    with tempfile.TemporaryDirectory(prefix="parca-agent-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        settings = f"sampling: {{window_seconds: {WINDOW_SECONDS}}}\n"
        with agent.running(directory, HZ, settings):
            _wait_for_tables()
            for load in loads:
                if load.missing:
                    yield Absent(load.name, load.missing)
                    continue
                print(f"{load.name} …", file=sys.stderr, flush=True)
                yield from _measure(load, directory, seconds)


def _wait_for_tables() -> None:
    """What runs on the machine already comes first; the programs find an agent at rest."""
    end = time.monotonic() + TABLES_SECONDS
    while time.monotonic() < end and agent.status()["unwinding"]["waiting"]:
        time.sleep(0.5)


def _measure(load: Load, directory: Path, seconds: float) -> Iterator[Program]:
    own = directory / f"load-{LOADS.index(load)}"
    own.mkdir(mode=0o755)
    try:
        with load.start(own):
            time.sleep(WARM_UP_SECONDS)
            begin = time.time_ns()
            time.sleep(seconds)
            end = time.time_ns()
    except subprocess.SubprocessError as error:
        print(f"{load.name}: {error}", file=sys.stderr)
        begin = end = time.time_ns()
    time.sleep(WINDOW_SECONDS + 1)
    windows = [one for one in _windows(begin) if one.time_ns + one.duration_ns <= end]
    whole, generated = tally(windows, load.comms, apart=load.code_at_run_time)
    yield _program(load.name, whole, load.completeness, load.attribution)
    if load.code_at_run_time:
        yield _program(f"{load.name}, code made at run time", generated, False, 0.0)


def _windows(begin_ns: int) -> list[Profile]:
    """Those of the spool that began later."""
    reader = SpoolReader(LAYOUT.spool)
    try:
        headers = {name: reader.header(name) for name in reader.names()}
        wanted = [name for name, header in headers.items() if header.time_ns >= begin_ns]
        return [decode(reader.read(name)[1]) for name in wanted]
    finally:
        reader.close()


def _program(name: str, found: Tally, judged: bool, attribution: float) -> Program:
    of = max(found.samples, 1)
    return Program(
        name=name,
        samples=found.samples,
        complete_percent=100 * found.complete / of,
        attributed_percent=100 * found.attributed / of,
        reasons=dict(found.reasons.most_common()),
        judged=judged,
        attribution=attribution,
    )


def claims(results: Sequence[Program | Absent]) -> list[Claim]:
    """A program that hardly worked claims nothing well: its stacks count as incomplete."""
    found = []
    for one in results:
        if isinstance(one, Absent):
            continue
        few = one.samples < FEWEST
        if one.judged:
            value = 100.0 if few else one.incomplete_percent
            found.append(Claim(f"{one.name}: % of user stacks incomplete", value, 0.5, 1.0))
        if one.attribution:
            value = 100.0 if few else 100.0 - one.attributed_percent
            most = 100.0 - one.attribution
            found.append(Claim(f"{one.name}: % of samples in no executable", value, most, most))
    return found


def render(results: Sequence[Program | Absent]) -> str:
    rows = [["program", "samples", "complete", "in executables", "why the rest ends"]]
    for one in results:
        if isinstance(one, Absent):
            rows.append([one.name, "-", "-", "-", f"absent: {', '.join(one.needs)}"])
            continue
        reasons = (f"{reason} {count}" for reason, count in one.reasons.items())
        percent = (f"{value:.2f} %" for value in (one.complete_percent, one.attributed_percent))
        rows.append([one.name, f"{one.samples:,}", *percent, ", ".join(reasons)])
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3)), row[4]])
        for row in rows
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.unwinding", description=__doc__)
    parser.add_argument("--program", action="append", choices=[load.name for load in LOADS])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--out", type=Path, help="write the results there, as JSON")
    chosen = parser.parse_args(arguments)
    if os.geteuid() != 0:
        print("benchmarks: needs root, as the agent itself does", file=sys.stderr)
        return 2
    loads = [load for load in LOADS if not chosen.program or load.name in chosen.program]
    try:
        results = list(run(loads, chosen.seconds))
    except BenchmarkError as error:
        print(f"benchmarks: the agent did not come up:\n{error}", file=sys.stderr)
        return 2
    judged = claims(results)
    print(render(results), table.render_claims(judged), sep="\n\n")
    if chosen.out:
        document = {"machine": machine.describe(), "programs": [asdict(one) for one in results]}
        chosen.out.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(claim.missed for claim in judged))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
