# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks [--quick] [--part NAME]... [--load NAME]... [--hz N]... [--out FILE]

Needs root, a built stage, and a machine that does nothing else. Exit status 1: a gate is missed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import loads, machine, measure, table, tables, unwinding
from benchmarks.agent import BenchmarkError
from benchmarks.claims import Claim, claims
from benchmarks.measure import Result
from benchmarks.real import LOADS
from benchmarks.tables import TableResult
from benchmarks.unwinding import Absent, Program

RESULTS = Path(__file__).with_name("results")
PARTS = ("agent", "tables", "programs")
RATES = (19, 99)
WARM_UP, SECONDS = 13.0, 36.0
"""The warm-up covers the first window, which meets every executable for the first time."""
QUICK_WARM_UP, QUICK_SECONDS = 12.0, 11.0


def main(arguments: list[str]) -> int:
    chosen = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("benchmarks: needs root, as the agent itself does", file=sys.stderr)
        return 2
    parts = chosen.part or PARTS
    try:
        results = run_agent(chosen) if "agent" in parts else []
        made = tables.run() if "tables" in parts else []
        programs = list(unwinding.run(LOADS)) if "programs" in parts else []
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    judged = [*claims(results, made), *unwinding.claims(programs)]
    shown = [table.render(results)] if results else []
    shown += [tables.render(made)] if made else []
    shown += [unwinding.render(programs)] if programs else []
    print(*shown, table.render_claims(judged), sep="\n\n")
    write(chosen.out or RESULTS / f"{_today()}.json", results, made, programs, judged)
    return int(any(claim.missed for claim in judged))


def run_agent(chosen: argparse.Namespace) -> list[Result]:
    """The agent at each rate under each load. Raises BenchmarkError."""
    warm_up, seconds = (QUICK_WARM_UP, QUICK_SECONDS) if chosen.quick else (WARM_UP, SECONDS)
    results = []
    with loads.program() as program:
        for load in chosen.load or loads.LOADS:
            for hz in chosen.hz or RATES:
                print(f"{load}, {hz} Hz …", file=sys.stderr, flush=True)
                one = measure.run(program, load, hz, warm_up=warm_up, seconds=seconds)
                results.append(one)
    return results


def write(
    path: Path,
    results: list[Result],
    made: list[TableResult],
    programs: list[Program | Absent],
    judged: list[Claim],
) -> None:
    document = {
        "date": _today(),
        "machine": machine.describe(),
        "claims": [asdict(claim) | {"verdict": claim.verdict} for claim in judged],
        "results": [asdict(one) | {"agent_percent": one.agent_percent} for one in results],
        "programs": [asdict(one) for one in programs],
        "tables": [asdict(one) | {"kernel_bytes": one.kernel_bytes} for one in made],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, for a look")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one")
    parser.add_argument("--load", action="append", choices=list(loads.LOADS))
    parser.add_argument("--hz", action="append", type=int)
    parser.add_argument("--out", type=Path, help="the JSON file")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
