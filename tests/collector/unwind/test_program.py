# SPDX-License-Identifier: Apache-2.0
"""Call frame programs, instruction by instruction."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.unwind import program as module
from collector.unwind.entries import Cie
from collector.unwind.program import Interpreter
from collector.unwind.rows import BOTTOM, UNSUPPORTED, Cfa, Rule, Rules, Saved, loaded
from collector.unwind.x86_64 import X86_64
from tests.collector.unwind.cfi_maker import NEW, leb

ENTRY = Rule(Cfa.STACK, 8)


def head(program=NEW, *, column=16, signal=False, factors=(1, -8)):
    return Cie(*factors, column, 0x1B, True, signal, program)


def run(program, cie=None):
    rules = Rules()
    rows = Interpreter(X86_64, rules).steps(cie or head(), program)
    return [(step, rules.all()[number]) for step, number in rows]


def after(program, **options):
    """The rule that holds at the end."""
    return run(program, head(**options))[-1][1]


def test_a_function_with_a_frame_pointer():
    assert run(b"\x41\x0e\x10\x86\x02\x43\x0d\x06\x7f\x0c\x07\x08") == [
        (0, ENTRY),
        (1, Rule(Cfa.STACK, 16, Saved.AT, -16)),
        (4, Rule(Cfa.FRAME, 16, Saved.AT, -16)),
        (67, Rule(Cfa.STACK, 8, Saved.AT, -16)),
    ]


@pytest.mark.parametrize(
    ("program", "step"), [(b"\x02\x7f", 127), (b"\x03\0\x01", 256), (b"\x04\0\0\x01\0", 65536)]
)
def test_advances(program, step):
    assert run(program + b"\x0e\x10") == [(0, ENTRY), (step, Rule(Cfa.STACK, 16))]


def test_advances_are_scaled():
    assert run(b"\x41\x0e\x10", head(factors=(4, -8)))[1][0] == 4


@pytest.mark.parametrize(
    ("program", "rule"),
    [
        (b"\x86\x02", Rule(Cfa.STACK, 8, Saved.AT, -16)),  # offset
        (b"\x05\x06\x02", Rule(Cfa.STACK, 8, Saved.AT, -16)),  # offset_extended
        (b"\x11\x06\x02", Rule(Cfa.STACK, 8, Saved.AT, -16)),  # offset_extended_sf
        (b"\x86\x02\xc6", ENTRY),  # restore
        (b"\x86\x02\x06\x06", ENTRY),  # restore_extended
        (b"\x86\x02\x08\x06", ENTRY),  # same_value
        (b"\x07\x06", Rule(Cfa.STACK, 8, Saved.LOST)),  # undefined
        (b"\x09\x06\x00", Rule(Cfa.STACK, 8, Saved.LOST)),  # register
        (b"\x10\x06\x02\x76\x70", Rule(Cfa.STACK, 8, Saved.AT_FRAME, -16)),  # expression
        (b"\x10\x06\x02\x77\x00", Rule(Cfa.STACK, 8, Saved.LOST)),
        (b"\x10\x06\x03\x76\x00\x06", Rule(Cfa.STACK, 8, Saved.LOST)),
        (b"\x10\x10\x02\x76\x08", UNSUPPORTED),  # of the return address
        (b"\x14\x06\x02", Rule(Cfa.STACK, 8, Saved.LOST)),  # val_offset
        (b"\x15\x06\x02", Rule(Cfa.STACK, 8, Saved.LOST)),  # val_offset_sf
        (b"\x16\x06\x02\x76\x00", Rule(Cfa.STACK, 8, Saved.LOST)),  # val_expression
        (b"\x83\x02\x10\x03\x02\x76\x00\x09\x0c\x00", ENTRY),  # registers that do not matter
        (b"\x0c\x06\x20", Rule(Cfa.FRAME, 32)),  # def_cfa
        (b"\x12\x06\x7c", Rule(Cfa.FRAME, 32)),  # def_cfa_sf
        (b"\x13\x7e", Rule(Cfa.STACK, 16)),  # def_cfa_offset_sf
        (b"\x0c\x0a\x08", loaded(Cfa.REGISTER, 10, 8)),  # CFA by r10
        (b"\x0c\x10\x08", UNSUPPORTED),  # by the return address
        (b"\x0f\x01\x9c", UNSUPPORTED),  # def_cfa_expression
        (b"\x0f\x01\x9c\x0c\x07\x10", Rule(Cfa.STACK, 16)),
        (b"\x2e\x10", ENTRY),  # GNU_args_size
        (b"\x07\x10", BOTTOM),  # the return address is undefined
        (b"\x90\x02", UNSUPPORTED),  # the return address elsewhere
        (b"\x09\x10\x01", UNSUPPORTED),
        (b"\x00\x00", ENTRY),  # nop
    ],
)
def test_instructions(program, rule):
    assert after(program) == rule


def test_states_are_remembered_whole():
    assert after(b"\x0a\x86\x02\x0c\x06\x10\x0b") == ENTRY


@pytest.mark.parametrize(
    "program",
    [
        b"\x0b",  # nothing to recall
        b"\x0a" * 17,  # too much to remember
        b"\x01" + bytes(8),  # set_loc
        b"\x3f",  # no such instruction
        b"\x02",  # operands that are cut off
        b"\x04\0\0",
        b"\x0e",
        b"\x0e\x80",
        b"\x0e" + b"\xff" * 11,
        b"\x0f\x05\x77",
        b"\x0f\x01\x9c\x0e\x10",  # an offset where the CFA is an expression
    ],
)
def test_from_where_a_program_cannot_be_read_on_it_is_unsupported(program):
    rows = run(b"\x0e\x10\x45" + program)
    assert rows[0] == (0, Rule(Cfa.STACK, 16))
    assert rows[-1] == (5, UNSUPPORTED)


@pytest.mark.parametrize(
    "cie",
    [head(b""), head(b"\x3f"), head(NEW + b"\x41\x0e\x10"), head(column=17), head(b"\x0c\x07\x08")],
)
def test_a_cie_that_says_too_little_or_too_much_is_unsupported(cie):
    assert run(b"\x41\x0e\x10", cie)[0] == (0, UNSUPPORTED)


def test_a_signal_frame_is_known_by_its_expression():
    assert after(b"\x0f\x04\x77\xa0\x01\x06", signal=True).cfa == Cfa.SIGNAL
    assert after(b"\x0f\x04\x77\xa8\x01\x06", signal=True) == UNSUPPORTED
    assert after(b"\x0f\x04\x77\xa0\x01\x06").cfa == Cfa.STACK_LOADED


def test_huge_offsets_are_unsupported():
    assert after(b"\x0c\x07" + b"\xff" * 9 + b"\x01") == UNSUPPORTED
    assert after(b"\x11\x06" + leb(-(1 << 62))) == UNSUPPORTED


@given(st.binary(max_size=200), st.binary(max_size=40), st.booleans(), st.integers(-9, 9))
def test_any_program_gives_ascending_rows_not_more_than_its_bytes(program, first, signal, factor):
    for start in (first, NEW):
        rules = Rules()
        cie = head(start, signal=signal, factors=(abs(factor), factor))
        rows = Interpreter(X86_64, rules).steps(cie, program)
        steps = [step for step, _ in rows]
        assert steps == sorted(steps)
        assert steps[0] == 0
        assert len(rows) <= len(program) + 2
        assert max(number for _, number in rows) < len(rules.all())


REGISTERS = st.sampled_from([b"\x06", b"\x07", b"\x10", b"\x03"])
NUMBERS = st.integers(-40, 40).map(leb) | st.sampled_from([b"\x80\x00", b"\xff" * 10 + b"\0"])
STEPS = st.sampled_from([b"\x40", b"\x41", b"\x44", b"\x7f", b"\x02\x00", b"\x02\x08", b"\x03\0\1"])
ALONE = st.sampled_from([b"\x0a", b"\x0b", b"\xc6", b"\xd0", b"\0", b"\x0f\x03\x77\x08\x06"])
SAVES = st.builds(lambda code, number: code + number, st.sampled_from([b"\x86", b"\x90"]), NUMBERS)
ONES = st.builds(
    lambda code, number: bytes([code]) + number,
    st.sampled_from([0x06, 0x07, 0x08, 0x0D, 0x0E, 0x13, 0x2E]),
    REGISTERS | NUMBERS,
)
TWOS = st.builds(
    lambda code, register, number: bytes([code]) + register + number,
    st.sampled_from([0x05, 0x09, 0x0C, 0x11, 0x12, 0x14]),
    REGISTERS,
    NUMBERS,
)
INSTRUCTIONS = STEPS | STEPS | ALONE | SAVES | ONES | TWOS | st.binary(max_size=2)
PROGRAMS = st.lists(st.lists(INSTRUCTIONS, max_size=12).map(b"".join), max_size=5)


@settings(max_examples=500, deadline=None)
@given(PROGRAMS, st.booleans(), st.sampled_from([(1, -8), (4, 2), (0, 0)]))
def test_what_is_looked_up_is_what_running_gives(programs, signal, factors):
    """Neighbours that differ in what no rule says may be two rows when they are run."""
    cie = head(signal=signal, factors=factors)
    rules = Rules()
    short, long = Interpreter(X86_64, rules), Interpreter(X86_64, rules)
    for program in programs + programs:
        rows = short.steps(cie, program)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_MAX_SHORT", -1)
            assert list(distinct(rows)) == list(distinct(long.steps(cie, program)))


def distinct(rows):
    """Without a row that says what the one before says."""
    last = None
    for step, number in rows:
        if number != last:
            yield step, number
        last = number


def test_most_programs_are_looked_up(monkeypatch):
    monkeypatch.setattr(module.Interpreter, "_run", None)
    assert len(run(b"\x41\x0e\x10\x86\x02\x43\x0d\x06\x0a\x7f\x0c\x07\x08\x41\x0b")) == 5
