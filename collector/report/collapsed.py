# SPDX-License-Identifier: Apache-2.0
"""profile.collapsed.txt: one line per stack, root first, `comm;frame;frame count`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from collector.report.frames import Kind, kind, printable, title
from collector.report.merge import Merged

SUFFIX = {Kind.KERNEL: "_[k]", Kind.JIT: "_[j]"}
"""As flame graph tools expect them, to colour by."""


def lines(merged: Merged) -> Iterator[str]:
    """The lines, most samples first, each ending in a newline."""
    names = [_escape(title(one)) + SUFFIX.get(kind(one), "") for one in merged.frames]
    counts: Counter[str] = Counter()
    for (labels, stack), count in merged.rows.items():
        comm = _escape(printable(dict(labels).get("comm", "[unknown]")))
        frames = [names[number] for number in reversed(merged.stacks[stack])]
        counts[";".join((comm, *frames))] += count
    for line, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        yield f"{line} {count}\n"


def _escape(text: str) -> str:
    return text.replace(";", ":")
