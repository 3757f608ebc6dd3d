# SPDX-License-Identifier: Apache-2.0
"""How whole the user stacks of windows are, and why those end that are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from collector.elf.source import ElfError, Source
from collector.model import Frame, Profile
from collector.report.frames import Kind, kind
from collector.symbolize.resolve import NOWHERE
from collector.unwind.rows import BOTTOM, CLONED, Table
from collector.unwind.table import unwind_table

ENDS = "[stack ends: "
NO_BOTTOM = "said to be complete, at no bottom"
WITHOUT_ADDRESS = frozenset(executable.name for executable in NOWHERE.values())


@dataclass(slots=True)
class Tally:
    """Counts of samples with a user stack: whole ones, those whose leaf lies in an executable, and
    the rest by reason."""

    samples: int = 0
    complete: int = 0
    attributed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, user: Sequence[Frame], count: int, bottom: Callable[[Frame], bool]) -> None:
        reason = why(user) or ("" if bottom(user[-1]) else NO_BOTTOM)
        self.samples += count
        self.complete += 0 if reason else count
        self.attributed += count if kind(user[0]) is Kind.NATIVE else 0
        if reason:
            self.reasons[reason] += count


def why(user: Sequence[Frame]) -> str:
    """Why a user stack, leaf first, is not whole; empty when it is."""
    root = user[-1].executable.name
    if root.startswith(ENDS):
        return root.removeprefix(ENDS).removesuffix("]")
    return root.strip("[]") if root in WITHOUT_ADDRESS else ""


def at_bottom(frame: Frame) -> bool:
    """Whether a process or a thread begins in this frame, as far as its file can tell.

    The unwinder may take for the bottom what is none; rows of the whole file know it better.
    """
    if not frame.executable.build_id:
        return kind(frame) is not Kind.JIT  # of what ended since nothing can be told
    table = _table(frame.executable.name)
    return table is None or table.rule_at(frame.address) in (BOTTOM, CLONED)


@cache
def _table(path: str) -> Table | None:
    try:
        with Path(path).open("rb") as stream:
            return unwind_table(Source.of_descriptor(stream.fileno()))
    except (OSError, ElfError):
        return None


def made_at_run_time(user: Sequence[Frame]) -> bool:
    return any(kind(frame) is Kind.JIT for frame in user)


def tally(windows: Iterable[Profile], comms: frozenset[str], *, apart: bool) -> tuple[Tally, Tally]:
    """(stacks, stacks with code made at run time) of the processes of these names; without
    `apart` all are in the first."""
    whole, generated = Tally(), Tally()
    for series in (one for window in windows for one in window.series):
        if dict(series.labels).get("comm") not in comms:
            continue
        for frames, count in series.samples:
            user = [frame for frame in frames if kind(frame) is not Kind.KERNEL]
            if user:
                found = generated if apart and made_at_run_time(user) else whole
                found.add(user, count, at_bottom)
    return whole, generated
