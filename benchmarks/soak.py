# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.soak [--minutes N] [--out FILE]

Hours of processes that come and go, each a program never seen before, and of libraries loaded
and unloaded: is memory flat, do the caps hold, does the agent stay cheap? Every cycle storms for
half of its time and is calm for the other half. Exit status 1: a gate is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import agent, churn, kernel, loads, machine
from benchmarks.agent import Agent
from benchmarks.claims import MIB, Claim
from benchmarks.table import render_claims

RESULTS = Path(__file__).with_name("results")
CYCLE_SECONDS = 600.0
LOOK_SECONDS = 30.0
SETTLE_SECONDS = 60.0
"""Of a calm half: what the storm left behind is done by then."""


@dataclass(frozen=True, slots=True)
class Look:
    """At one moment: seconds since the start, bytes, CPU seconds since the agent started."""

    at: float
    calm: bool
    settled: bool
    pss: int
    rss: dict[str, int]
    maps: int
    cpu: float
    machine_cpu: float
    unwinding: dict[str, Any]
    counters: dict[str, int]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args(arguments)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    with (
        tempfile.TemporaryDirectory(prefix="parca-agent-soak-", dir="/var/tmp") as directory,
        loads.program() as busy,
        kernel.statistics(),
    ):
        Path(directory).chmod(0o755)
        with (
            _steady([*churn.NICE, str(busy), "busy", "1"]),
            churn.running(Path(directory)) as load,
            agent.running(Path(directory), 19) as measured,
        ):
            looks = _soak(measured, load, 60 * chosen.minutes)
        made = {"programs": load.programs, "libraries": load.libraries, "failures": load.failures}
    judged = claims(looks)
    print(render_claims(judged))
    document = {
        "date": today,
        "machine": machine.describe(),
        "minutes": chosen.minutes,
        "made": made,
        "claims": [asdict(claim) | {"verdict": claim.verdict} for claim in judged],
        "looks": [asdict(look) for look in looks],
    }
    path = chosen.out or RESULTS / f"{today}-soak.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(claim.missed for claim in judged))


@contextlib.contextmanager
def _steady(command: list[str]) -> Iterator[None]:
    """One process that is always busy; its children die with it."""
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _soak(measured: Agent, load: churn.Churn, seconds: float) -> list[Look]:
    began = time.monotonic()
    looks: list[Look] = []
    while (at := time.monotonic() - began) < seconds:
        in_cycle = at % CYCLE_SECONDS
        calm = in_cycle >= CYCLE_SECONDS / 2
        load.storming = not calm
        settled = in_cycle >= CYCLE_SECONDS / 2 + SETTLE_SECONDS
        looks.append(_look(measured, at, calm=calm, settled=settled))
        print(_line(looks[-1], load), file=sys.stderr, flush=True)
        time.sleep(LOOK_SECONDS)
    return looks


def _look(measured: Agent, at: float, *, calm: bool, settled: bool) -> Look:
    used = measured.used()
    memory = measured.memory()
    spent = sum(time for role, time in used.cpu.items() if role != "supervisor")
    return Look(
        at=at,
        calm=calm,
        settled=settled,
        pss=sum(item.pss for item in memory.values()),
        rss={role: item.rss for role, item in memory.items()},
        maps=sum(measured.maps().values()),
        cpu=spent + sum(runs.nanoseconds for runs in used.runs.values()) / 1e9,
        machine_cpu=used.machine_cpu,
        unwinding=dict(used.status.get("unwinding", {})),
        counters={k: v for k, v in used.status["counters"].items() if isinstance(v, int) and v},
    )


def _line(look: Look, load: churn.Churn) -> str:
    return (
        f"{look.at / 60:6.1f} min  {'calm ' if look.calm else 'storm'}  PSS {look.pss / MIB:5.1f}"
        f"  maps {look.maps / MIB:5.1f}  CPU {look.cpu:7.1f} s  {load.programs} programs,"
        f" {load.libraries} libraries"
    )


def claims(looks: list[Look]) -> list[Claim]:
    """Flat: the last third of the run needs no more than the third before it."""
    third = len(looks) // 3
    middle, last = looks[third : 2 * third], looks[2 * third :]
    found = [
        Claim("PSS of all processes, highest: MiB", max(one.pss for one in looks) / MIB, 90, 130),
        Claim("memory of the maps, highest: MiB", max(one.maps for one in looks) / MIB, 96, 110),
    ]
    if middle and last:
        found += [
            Claim("PSS, last third over the one before", _growth(middle, last, "pss"), 1.05, 1.15),
            Claim("maps, last third over the one before", _growth(middle, last, "maps"), 1.05, 1.2),
        ]
    calm = [(b.cpu - a.cpu, b.at - a.at) for a, b in pairwise(looks) if a.settled and b.settled]
    if calm:
        spent, seconds = (sum(column) for column in zip(*calm, strict=True))
        share = 100 * spent / seconds
        found.append(Claim("CPU of the agent while it is calm: % of a core", share, 1, 1))
    return found


def _growth(before: list[Look], after: list[Look], what: str) -> float:
    highest = [max(getattr(one, what) for one in looks) for looks in (before, after)]
    return highest[1] / max(highest[0], 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
