# SPDX-License-Identifier: Apache-2.0
"""The judgement of benchmark results, and how it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import tables
from benchmarks.claims import MIB, Claim, claims
from benchmarks.measure import Result
from benchmarks.table import COLUMNS, render, render_claims
from benchmarks.tables import TableResult


def result(**changes: Any) -> Result:
    values = {
        "load": "2 busy",
        "hz": 19,
        "seconds": 36.0,
        "samples": 1368,
        "windows": 4,
        "stacks": 180,
        "processes": 4,
        "dropped": 0,
        "bpf_ns_per_sample": 7500.0,
        "cpu_percent": {"collect": 0.1, "ship": 0.0, "elf": 0.05, "bpf": 0.03, "supervisor": 9.0},
        "window_milliseconds": {"drain": 1.0, "resolve": 2.0, "encode": 1.0},
        "machine_percent": 200.0,
        "forks_per_second": 0.0,
        "rss": {"collect": 40 * MIB},
        "pss": {"collect": 30 * MIB, "ship": 10 * MIB},
        "maps": {"stacks_0": 4 * MIB},
    }
    return Result(**(values | changes))


def table_result(**changes: Any) -> TableResult:
    values = {
        "name": "node",
        "text_bytes": 27 * MIB,
        "rows": 277_000,
        "page_shift": 16,
        "chunks": 457,
        "left_out": 0,
        "refused": 0,
        "seconds": 0.7,
        "wall_seconds": 0.8,
        "peak_rss": 40 * MIB,
    }
    return TableResult(**(values | changes))


def by_name(found: list[Claim], part: str) -> Claim:
    return next(claim for claim in found if part in claim.name)


def test_the_agent_is_its_processes_and_its_programs() -> None:
    assert result().agent_percent == pytest.approx(0.18)


@pytest.mark.parametrize(
    ("percent", "verdict", "missed"),
    [(0.3, "met", False), (0.4, "within the gate", False), (0.51, "MISSED", True)],
)
def test_cpu_of_the_default_rate_is_judged(percent: float, verdict: str, missed: bool) -> None:
    slow = result(cpu_percent={"collect": percent})
    fast = result(hz=99, cpu_percent={"collect": 5.0})
    claim = by_name(claims([fast, slow]), "CPU of the agent")
    assert (claim.verdict, claim.missed) == (verdict, missed)


def test_memory_is_that_of_the_worst_load() -> None:
    found = claims([result(), result(load="idle", pss={"collect": 91 * MIB})])
    assert by_name(found, "PSS").missed
    assert not by_name(found, "maps").missed


def test_cost_by_sample_is_missed() -> None:
    fast = result(hz=99, window_milliseconds={"drain": 5.0, "resolve": 10.0, "encode": 5.0})
    assert by_name(claims([result(), fast]), "99 Hz over").missed


def test_the_table_of_node_is_judged() -> None:
    found = claims([], [table_result(name="libc", seconds=3.0), table_result(seconds=1.5)])
    assert [claim.verdict for claim in found] == ["within the gate", "met"]


def test_a_line_for_each_table() -> None:
    header, row = tables.render([table_result()]).splitlines()
    assert "KiB/MiB" in header
    assert row.split()[:7] == ["node", "27.0", "277,000", "10,259", "457", "68", "64"]


def test_what_was_not_measured_is_not_claimed() -> None:
    assert claims([]) == []
    assert not [claim for claim in claims([result(load="idle")]) if "CPU" in claim.name]


def test_table_has_a_cell_for_each_column() -> None:
    header, row = render([result()]).splitlines()
    assert header.split() == COLUMNS
    assert len(row.split()) == len(COLUMNS) + 1  # "2 busy"
    assert "MISSED" in render_claims([Claim("one", 2.0, 1.0, 1.5)])
