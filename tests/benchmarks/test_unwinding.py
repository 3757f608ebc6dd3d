# SPDX-License-Identifier: Apache-2.0
"""How whole the stacks of windows are found to be, and the judgement of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from benchmarks.stacks import NO_BOTTOM, at_bottom, tally
from benchmarks.unwinding import Absent, Program, claims, render
from collector.model import Executable, Frame, Profile, Series

PATH = str(Path(sys.executable).resolve())
with Path(PATH).open("rb") as stream:
    ENTRY = ELFFile(stream)["e_entry"]
NATIVE = Frame(Executable(PATH, "ab"), ENTRY + 0x40, "")
START = Frame(Executable(PATH, "ab"), ENTRY, "_start")
KERNEL = Frame(Executable("[kernel.kallsyms]", ""), 0, "schedule")
GENERATED = Frame(Executable("[anon]", ""), 0, "")
ENDED = Frame(Executable("[stack ends: no unwind table]", ""), 0, "")
UNMAPPED = Frame(Executable("[not mapped yet]", ""), 0, "")
EXITED = Frame(Executable("[exited]", ""), 0, "")


def windows(*samples, comm="program"):
    return [Profile(1, 1, 1, (Series((("comm", comm),), tuple(samples)),))]


def counted(*stack):
    whole, _ = tally(windows((stack, 3)), frozenset({"program"}), apart=False)
    return whole.samples, whole.complete, whole.attributed, dict(whole.reasons)


def test_a_process_begins_at_the_entry_and_nowhere_else() -> None:
    assert at_bottom(START)
    assert not at_bottom(NATIVE)
    assert not at_bottom(GENERATED)


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ((NATIVE, START), (3, 3, 3, {})),
        ((KERNEL, NATIVE, START), (3, 3, 3, {})),
        ((NATIVE, NATIVE, ENDED), (3, 0, 3, {"no unwind table": 3})),
        ((NATIVE, NATIVE), (3, 0, 3, {NO_BOTTOM: 3})),
        ((UNMAPPED,), (3, 0, 0, {"not mapped yet": 3})),
        ((GENERATED, START), (3, 3, 0, {})),
        ((EXITED, EXITED), (3, 3, 0, {})),
        ((KERNEL,), (0, 0, 0, {})),
    ],
)
def test_stacks_are_counted_by_how_they_end(stack, expected) -> None:
    assert counted(*stack) == expected


def test_other_processes_do_not_count() -> None:
    whole, _ = tally(windows(((START,), 1), comm="other"), frozenset({"program"}), apart=False)
    assert whole.samples == 0


def test_code_made_at_run_time_is_counted_apart() -> None:
    found = windows(((NATIVE, START), 1), ((NATIVE, GENERATED, START), 2))
    whole, generated = tally(found, frozenset({"program"}), apart=True)
    assert (whole.samples, generated.samples) == (1, 2)


def program(**changes) -> Program:
    values = {"name": "one", "samples": 1000, "complete_percent": 99.6, "attributed_percent": 99.0}
    return Program(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        ({}, ["met"]),
        ({"complete_percent": 99.2}, ["within the gate"]),
        ({"complete_percent": 98.9}, ["MISSED"]),
        ({"complete_percent": 98.9, "judged": False}, []),
        ({"samples": 100}, ["MISSED"]),
        ({"attribution": 95.0, "attributed_percent": 94.0}, ["met", "MISSED"]),
        ({"attribution": 95.0, "samples": 0}, ["MISSED", "MISSED"]),
    ],
)
def test_programs_are_judged(changes, verdicts) -> None:
    assert [claim.verdict for claim in claims([program(**changes)])] == verdicts


def test_absent_programs_are_named_and_not_judged() -> None:
    absent = Absent("nginx", ["nginx", "wrk"])
    assert claims([absent]) == []
    text = render([program(reasons={"stuck": 4}), absent])
    assert "absent: nginx, wrk" in text
    assert "stuck 4" in text
