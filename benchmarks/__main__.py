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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import beside, frames, loads, machine, measure, table, tables, unwinding
from benchmarks.agent import BenchmarkError
from benchmarks.claims import Claim, claims
from benchmarks.real import LOADS

RESULTS = Path(__file__).with_name("results")
RATES = (19, 99)
WARM_UP, SECONDS = 13.0, 36.0
"""The warm-up covers the first window, which meets every executable for the first time."""
QUICK_WARM_UP, QUICK_SECONDS = 12.0, 11.0


@dataclass(frozen=True, slots=True)
class Section:
    """What one part brought: its rows for the file, what to print, what it claims."""

    name: str
    rows: list[dict[str, Any]]
    shown: str
    claims: list[Claim]


def main(arguments: list[str]) -> int:
    chosen = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("benchmarks: needs root, as the agent itself does", file=sys.stderr)
        return 2
    try:
        sections = [PARTS[name](chosen) for name in chosen.part or PARTS]
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    judged = [claim for section in sections for claim in section.claims]
    shown = [section.shown for section in sections if section.shown]
    print(*shown, table.render_claims(judged), sep="\n\n")
    write(chosen.out or RESULTS / f"{_today()}.json", sections, judged)
    return int(any(claim.missed for claim in judged))


def run_agent(chosen: argparse.Namespace) -> Section:
    """The agent at each rate under each load. Raises BenchmarkError."""
    warm_up, seconds = (QUICK_WARM_UP, QUICK_SECONDS) if chosen.quick else (WARM_UP, SECONDS)
    found = []
    with loads.program() as program:
        for load in chosen.load or loads.LOADS:
            for hz in chosen.hz or RATES:
                print(f"{load}, {hz} Hz …", file=sys.stderr, flush=True)
                one = measure.run(program, load, hz, warm_up=warm_up, seconds=seconds)
                found.append(one)
    rows = [asdict(one) | {"agent_percent": one.agent_percent} for one in found]
    return Section("results", rows, table.render(found), claims(found))


def run_tables(_: argparse.Namespace) -> Section:
    """Unwind tables of real executables."""
    made = tables.run()
    rows = [asdict(one) | {"kernel_bytes": one.kernel_bytes} for one in made]
    return Section("tables", rows, tables.render(made), claims([], made))


def run_frames(_: argparse.Namespace) -> Section:
    """A frame of a user stack."""
    found = frames.run()
    return Section(
        "frames", [asdict(one) for one in found], frames.render(found), frames.claims(found)
    )


def run_programs(_: argparse.Namespace) -> Section:
    """How whole the stacks of real programs are."""
    found = list(unwinding.run(LOADS))
    return Section(
        "programs", [asdict(one) for one in found], unwinding.render(found),
        unwinding.claims(found),
    )  # fmt: skip


def run_beside(_: argparse.Namespace) -> Section:
    """The agent beside perf record."""
    found = beside.run()
    rows = [asdict(one) for one in found]
    return Section("beside", rows, beside.render(found), beside.claims(found))


PARTS: dict[str, Callable[[argparse.Namespace], Section]] = {
    "agent": run_agent,
    "tables": run_tables,
    "frames": run_frames,
    "programs": run_programs,
    "beside": run_beside,
}


def write(path: Path, sections: list[Section], judged: list[Claim]) -> None:
    document = {
        "date": _today(),
        "machine": machine.describe(),
        "claims": [asdict(claim) | {"verdict": claim.verdict} for claim in judged],
    }
    document |= {section.name: section.rows for section in sections}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, for a look")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this one")
    parser.add_argument("--load", action="append", choices=list(loads.LOADS))
    parser.add_argument("--hz", action="append", type=int)
    parser.add_argument("--out", type=Path, help="the JSON file")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
