# SPDX-License-Identifier: Apache-2.0
"""summary.json: the run in numbers."""

from __future__ import annotations

import json
import platform
from collections import Counter
from datetime import UTC, datetime

from collector.report.frames import TITLES, kind, printable, title
from collector.report.merge import Merged
from collector.report.whole import host_labels

SCHEMA = 1
TOP = 20
PROCESS_LABELS = ("pid", "comm", "executable")
STATUS_PARTS = ("health", "sampling", "samples", "stacks", "processes")


def build(merged: Merged, unreadable: int, status: bytes) -> dict[str, object]:
    """The summary as JSON values.

    unreadable counts windows that could not be decoded; status is the collector's last status
    answer, which may be empty and is taken as a stranger's word.
    """
    own = _by_function(merged)
    processes = _by_process(merged)
    return {
        "schema": SCHEMA,
        "host": _host(merged),
        "started": utc(merged.first_ns),
        "ended": utc(merged.last_ns),
        "duration_seconds": round(merged.duration_ns / 1e9, 3),
        "frequency_hz": round(1e9 / merged.period_ns, 3) if merged.period_ns else None,
        "windows": merged.windows,
        "windows_unreadable": unreadable,
        "samples": merged.samples,
        "samples_left_out": merged.left_out,
        "stacks": len(merged.stacks),
        "frames": len(merged.frames),
        "processes": len(processes),
        "samples_by_kind": _by_kind(merged),
        "top_functions": [
            {"function": name, "executable": file, "samples": count, "percent": _of(count, merged)}
            for (name, file), count in own.most_common(TOP)
        ],
        "top_processes": [
            {**dict(zip(PROCESS_LABELS, key, strict=True)), "samples": count}
            for key, count in processes.most_common(TOP)
        ],
        "last_status": _status(status),
    }


def utc(time_ns: int) -> str:
    """A time as ISO 8601 in UTC, to the second; empty for no time or an impossible one."""
    try:
        moment = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if time_ns else ""


def _host(merged: Merged) -> dict[str, str]:
    uname = platform.uname()
    ours = {"node": uname.node, "kernel_release": uname.release, "arch": uname.machine}
    return ours | {name: printable(value) for name, value in host_labels(merged)}


def _by_function(merged: Merged) -> Counter[tuple[str, str]]:
    """Samples by the leaf's (function, executable)."""
    counts: Counter[tuple[str, str]] = Counter()
    for (_, stack), count in merged.rows.items():
        if numbers := merged.stacks[stack]:
            leaf = merged.frames[numbers[0]]
            counts[title(leaf), printable(leaf.executable.name)] += count
    return counts


def _by_process(merged: Merged) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for (labels, _), count in merged.rows.items():
        values = dict(labels)
        counts[tuple(printable(values.get(name, "")) for name in PROCESS_LABELS)] += count
    return counts


def _by_kind(merged: Merged) -> dict[str, int]:
    counts = dict.fromkeys(TITLES.values(), 0)
    del counts["process"]
    for (_, stack), count in merged.rows.items():
        if numbers := merged.stacks[stack]:
            counts[kind(merged.frames[numbers[0]]).title] += count
    return counts


def _status(answer: bytes) -> dict[str, object]:
    """The parts of a status answer that belong to a run; empty without a usable one."""
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {name: document[name] for name in STATUS_PARTS if name in document}


def _of(count: int, merged: Merged) -> float:
    return round(100 * count / merged.samples, 2)
