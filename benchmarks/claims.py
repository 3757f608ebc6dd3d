# SPDX-License-Identifier: Apache-2.0
"""What is claimed, each with a goal and a gate; only a missed gate fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.measure import Result
from benchmarks.tables import TableResult

MIB = 1 << 20
DEFAULT_HZ = 19
FASTER_HZ = 99


@dataclass(frozen=True, slots=True)
class Claim:
    """A measured value that should be at most `goal` and must be at most `gate`."""

    name: str
    value: float
    goal: float
    gate: float

    @property
    def verdict(self) -> str:
        if self.value <= self.goal:
            return "met"
        return "within the gate" if self.value <= self.gate else "MISSED"

    @property
    def missed(self) -> bool:
        return self.value > self.gate


def claims(results: Sequence[Result], tables: Sequence[TableResult] = ()) -> list[Claim]:
    """Those that can be judged by these results."""
    found = [*_table_claims(tables)]
    default = [one for one in results if one.hz == DEFAULT_HZ]
    busy = {one.hz: one for one in results if one.load == "2 busy"}
    if DEFAULT_HZ in busy:
        value = busy[DEFAULT_HZ].agent_percent
        found.append(Claim("CPU of the agent, 19 Hz, 2 busy: % of a core", value, 0.3, 0.5))
    if default:
        pss = max(sum(one.pss.values()) for one in default)
        maps = max(sum(one.maps.values()) for one in default)
        found.append(Claim("PSS of all processes, 19 Hz: MiB", pss / MIB, 90, 90))
        found.append(Claim("memory of the maps, 19 Hz: MiB", maps / MIB, 45, 45))
    if DEFAULT_HZ in busy and FASTER_HZ in busy:
        found.append(Claim("CPU per window at 99 Hz over that at 19 Hz, 2 busy", *_growth(busy)))
    return found


def _table_claims(tables: Sequence[TableResult]) -> Iterator[Claim]:
    for one in tables:
        if one.name == "node":
            yield Claim("unwind table of node, CPU of the worker: s", one.seconds, 1.0, 2.0)
            yield Claim("the same, most memory: MiB", one.peak_rss / MIB, 300, 400)


def _growth(busy: dict[int, Result]) -> tuple[float, float, float]:
    """CPU per window at the faster rate over that at the slower one. Cost by sample would be 5.2;
    more samples also find more of the rare stacks, hence the room."""
    slow, fast = (sum(busy[hz].window_milliseconds.values()) for hz in (DEFAULT_HZ, FASTER_HZ))
    return fast / max(slow, 0.001), 2.0, 3.0
