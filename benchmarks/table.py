# SPDX-License-Identifier: Apache-2.0
"""Results and claims for people."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.claims import MIB, Claim
from benchmarks.measure import STAGES, Result

COLUMNS = [
    *("load", "Hz", "samples", "stacks", "procs", "drops", "ns/sample"),
    *("bpf%", "collect%", "ship%", "elf%", "agent%", "RSS", "PSS", "maps"),
    *("drain", "resolve", "encode", "others%", "forks/s"),
]


def render(results: Sequence[Result]) -> str:
    """One line a run: % of one core, MiB, CPU milliseconds per window."""
    rows = [COLUMNS, *map(_row, results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = (
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(lines)


def _row(one: Result) -> list[str]:
    cpu = one.cpu_percent
    return [
        one.load,
        str(one.hz),
        f"{one.samples:,}",
        f"{one.stacks:,}",
        f"{one.processes:,}",
        f"{one.dropped:,}",
        f"{one.bpf_ns_per_sample:,.0f}",
        *(f"{cpu.get(name, 0):.3f}" for name in ("bpf", "collect", "ship", "elf")),
        f"{one.agent_percent:.3f}",
        *(f"{sum(sizes.values()) / MIB:.1f}" for sizes in (one.rss, one.pss, one.maps)),
        *(f"{one.window_milliseconds[stage]:.1f}" for stage in STAGES),
        f"{one.machine_percent - one.agent_percent:.0f}",
        f"{one.forks_per_second:.0f}",
    ]


def render_claims(claims: Sequence[Claim]) -> str:
    return "\n".join(
        f"{claim.verdict:>15}  {claim.name}: {claim.value:.2f}"
        f" (goal {claim.goal}, gate {claim.gate})"
        for claim in claims
    )
