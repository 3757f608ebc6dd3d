# SPDX-License-Identifier: Apache-2.0
"""Each reason for which a walk ends, with tables and memory made for it."""

from __future__ import annotations

import struct
from array import array
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.unwind.chunks import chunks
from collector.unwind.rows import (
    BOTTOM,
    END,
    SIGNAL,
    SWITCHED,
    UNSUPPORTED,
    Cfa,
    Rule,
    Rules,
    Saved,
    Table,
    loaded,
)
from collector.unwind.x86_64 import X86_64
from tests.stacks.walker import FILE_VDSO, GAVE_ZERO, INTERRUPTED, IP_BEHIND, Case, End, Range

CODE, CODE_SIZE = 0x400000, 0x10000
STACK, STACK_SIZE = 0x7FFF00000000, 0x4000
BELOW = 256
FILE, TABLE = 77, 1 << 13 | 5
LEAF, ROOT, OTHER = 0x1000, 0x8000, 0x9000
ODD = STACK + 4
"""No frame pointer, but memory is there."""
MAX_FRAMES = 127
FREE = 8192


def words(*values):
    return struct.pack(f"<{len(values)}Q", *(value & 2**64 - 1 for value in values))


def case(rules, stack=b"", *, ip=LEAF, fp=0, flags=INTERRUPTED, **rest):
    """rules: (file offset, rule), ascending. stack: what lies there; above it are zeros."""
    numbers = Rules()
    known = [(at, numbers.number(rule)) for at, rule in rules]
    table = Table(
        array("Q", [at for at, _ in known]), array("H", [n for _, n in known]), numbers.all()
    )
    packed = chunks(table, [(0, 0, CODE_SIZE)], X86_64.frame_rule)
    whole = Case(
        ip=CODE + ip,
        sp=STACK,
        fp=fp & 2**64 - 1,
        flags=flags,
        ranges=[Range(CODE, CODE + CODE_SIZE, FILE, 0)],
        tables={FILE: (TABLE, packed.page_shift)},
        chunks={(TABLE, page): body for page, body in packed.chunks},
        areas=[(STACK - BELOW, bytes(BELOW) + stack.ljust(STACK_SIZE, b"\0"))],
    )
    return replace(whole, **rest)


FRAME = Rule(Cfa.STACK, 16)
"""One word and the return address."""
LEAF_TO_ROOT = [(LEAF, FRAME), (ROOT, BOTTOM)]
CALLED = words(0, CODE + ROOT + 1)


def ends(walker, made, end, *frames):
    walked = walker.walk(made)
    assert (walked.end, walked.frames) == (end, [CODE + at for at in frames])
    return walked


def test_the_bottom(walker):
    walked = ends(walker, case(LEAF_TO_ROOT, CALLED), End.COMPLETE, LEAF, ROOT + 1)
    assert (walked.by_row, walked.by_frame_pointer) == (1, 0)


def test_a_return_address_behind_the_last_instruction(walker):
    """A call at a function's end returns to where the next one begins; a sample there is in it."""
    stack = words(0, CODE + ROOT, 0, CODE + ROOT + 1)
    ends(walker, case(LEAF_TO_ROOT, stack), End.COMPLETE, LEAF, ROOT, ROOT + 1)
    ends(walker, case(LEAF_TO_ROOT, stack, ip=ROOT), End.COMPLETE, ROOT)
    behind = case(LEAF_TO_ROOT, CALLED, ip=ROOT, flags=INTERRUPTED | IP_BEHIND)
    ends(walker, behind, End.COMPLETE, ROOT, ROOT + 1)


def test_a_caller_that_is_no_code(walker):
    ends(walker, case(LEAF_TO_ROOT, words(0, STACK)), End.OUTSIDE_MAPPINGS, LEAF)
    ends(walker, case(LEAF_TO_ROOT, ip=CODE_SIZE), End.OUTSIDE_MAPPINGS)


def test_a_caller_of_nothing(walker):
    """The word that thread entries leave instead of a return address."""
    ends(walker, case(LEAF_TO_ROOT, words(0, 0)), End.COMPLETE, LEAF)


def test_a_stack_that_cannot_be_read(walker):
    walked = ends(walker, case(LEAF_TO_ROOT, areas=[]), End.UNREADABLE, LEAF)
    assert walked.unreadable == STACK + 8


def test_no_more_than_so_many_frames(walker):
    endless = words(0, CODE + LEAF + 1) * 300
    ends(walker, case(LEAF_TO_ROOT, endless), End.TRUNCATED, LEAF, *[LEAF + 1] * (MAX_FRAMES - 1))
    just = words(0, CODE + LEAF + 1) * (MAX_FRAMES - 2) + CALLED
    walked = walker.walk(case(LEAF_TO_ROOT, just))
    assert (walked.end, len(walked.frames)) == (End.COMPLETE, MAX_FRAMES)


def test_a_caller_that_does_not_lie_above(walker):
    for offset in (0, -64):
        ends(walker, case([(LEAF, Rule(Cfa.STACK, offset))], CALLED), End.STUCK, LEAF)
    back = loaded(Cfa.STACK_LOADED, 0, 0)
    ends(walker, case([(LEAF, back)], words(STACK)), End.STUCK, LEAF)


def test_frames_in_a_circle_of_signals(walker):
    """What a signal interrupted may lie anywhere, so also here: the number of frames ends it."""
    context = bytearray(400)
    context[120 : 120 + 56] = words(0, 0, 0, 0, 0, STACK, CODE + LEAF)
    made = case([(LEAF, SIGNAL)], bytes(context))
    ends(walker, made, End.TRUNCATED, LEAF, *[LEAF + 1] * (MAX_FRAMES - 1))


def test_frames_in_a_circle_of_frame_pointers(walker):
    circle = words(STACK, CODE + OTHER + 1)
    walked = walker.walk(case([], circle, ip=OTHER, fp=STACK))
    assert walked.end == End.BAD_FRAME_POINTER
    assert walked.frames == [CODE + OTHER, CODE + OTHER + 1]


def test_what_the_file_says_and_no_rule_expresses(walker):
    ends(walker, case([(LEAF, UNSUPPORTED)]), End.UNSUPPORTED_ROW, LEAF)


@pytest.mark.parametrize("kind", range(12, 256, 13))
def test_a_kind_of_rule_that_is_none(walker, kind):
    made = case([(LEAF, Rule(Cfa.STACK, 16))])
    bodies = {key: with_rules_of_kind(body, kind) for key, body in made.chunks.items()}
    ends(walker, replace(made, chunks=bodies), End.UNSUPPORTED_ROW, LEAF)


def with_rules_of_kind(body, kind):
    """All rules of a chunk of that kind."""
    body = bytearray(body)
    for place in range(1, 4):
        body[len(body) - 8 * place] = kind
    return bytes(body)


@pytest.mark.parametrize("lost", [Saved.LOST, Saved.AT])
def test_a_frame_pointer_that_was_lost(walker, lost):
    """By a rule that says so, and by one that says it lies where nothing can be read."""
    first = Rule(Cfa.STACK, 16, lost, STACK_SIZE)
    by_frame = [(LEAF, first), (ROOT, Rule(Cfa.FRAME, 16))]
    made = case(by_frame, CALLED, fp=STACK + 64)
    ends(walker, made, End.LOST_FRAME_POINTER, LEAF, ROOT + 1)
    no_row = case([(LEAF, first), (ROOT, END)], CALLED, fp=STACK + 64)
    ends(walker, no_row, End.LOST_FRAME_POINTER, LEAF, ROOT + 1)


def test_a_file_without_a_table(walker):
    made = case([], fp=ODD, tables={}, chunks={})
    ends(walker, made, End.NO_TABLE, LEAF)
    known = replace(made, tables={FILE: (0, 0)})
    ends(walker, known, End.NO_TABLE, LEAF)
    anonymous = replace(made, ranges=[Range(CODE, CODE + CODE_SIZE, 0, 0)])
    ends(walker, anonymous, End.BAD_FRAME_POINTER, LEAF)


def test_by_frame_pointer_where_there_is_no_row(walker):
    record = words(0, CODE + ROOT + 1)
    walked = ends(walker, case([(ROOT, BOTTOM)], record, fp=STACK), End.COMPLETE, LEAF, ROOT + 1)
    assert walked.by_frame_pointer == 1
    nameless = case([], record, fp=STACK, ranges=[Range(CODE, CODE + CODE_SIZE, 0, 0)])
    walked = ends(walker, nameless, End.COMPLETE, LEAF, ROOT + 1)
    assert walked.by_frame_pointer == 1


def test_a_frame_pointer_of_zero_says_nothing_where_there_is_no_table(walker):
    record = words(0, CODE + ROOT + 1)
    made = case([], record, fp=STACK, tables={}, chunks={})
    walked = ends(walker, made, End.NO_TABLE, LEAF, ROOT + 1)
    assert walked.by_frame_pointer == 1


def test_from_one_stack_to_another(walker):
    """By frame pointer, also where that is below; the leaf's rule is no other's."""
    rows = [(LEAF, FRAME), (OTHER, SWITCHED), (ROOT, BOTTOM)]
    stack = words(0, CODE + ROOT + 1, 0, 0, 0, CODE + OTHER + 1)
    made = case(sorted(rows), stack, sp=STACK + 32, fp=STACK)
    ends(walker, made, End.COMPLETE, LEAF, OTHER + 1, ROOT + 1)
    ends(walker, replace(made, fp=STACK - FREE), End.UNREADABLE, LEAF, OTHER + 1)


def test_a_register_of_another_frame_is_not_known(walker):
    rows = [(LEAF, FRAME), (ROOT, loaded(Cfa.REGISTER, 10, 8))]
    ends(walker, case(rows, CALLED), End.UNSUPPORTED_ROW, LEAF, ROOT + 1)


def test_code_that_tells_where_it_is(walker):
    """At a function's first instructions the frame pointer is the caller's; they say so."""
    first = words(CODE + ROOT + 1, 0)
    pushed = words(STACK + 64, CODE + ROOT + 1)
    for code, stack in (
        (b"\xf3\x0f\x1e\xfa", first),
        (b"\x55\x48\x89\xe5", first),
        (b"\xc3\0\0\0", first),
        (b"\x48\x89\xe5\0", pushed),
        (b"\x48\x8b\xec\0", pushed),
    ):
        made = case([(ROOT, BOTTOM)], stack, fp=STACK + 32)
        made = replace(made, areas=[*made.areas, (CODE + LEAF, code)])
        ends(walker, made, End.COMPLETE, LEAF, ROOT + 1)


def test_memory_where_the_frame_lies_elsewhere(walker):
    """Words loaded beside the stack or the frame pointer say where."""
    stack = words(STACK + 64) + bytes(64 - 8 - 8) + words(CODE + ROOT + 1)
    rows = [(LEAF, loaded(Cfa.STACK_LOADED, 0, 0)), (ROOT, BOTTOM)]
    ends(walker, case(rows, stack), End.COMPLETE, LEAF, ROOT + 1)
    rows = [(LEAF, loaded(Cfa.FRAME_LOADED, -16, 8)), (ROOT, BOTTOM)]
    stack = words(STACK + 56) + stack[8:]
    ends(walker, case(rows, stack, fp=STACK + 16), End.COMPLETE, LEAF, ROOT + 1)
    ends(walker, case(rows, stack, fp=STACK - 64), End.UNREADABLE, LEAF)


def test_a_stub_that_pushes(walker):
    rows = [(LEAF, Rule(Cfa.PLT, 11)), (ROOT, BOTTOM)]
    for at, stack in ((0, words(CODE + ROOT + 1)), (11, words(4, CODE + ROOT + 1))):
        ends(walker, case(rows, stack, ip=LEAF + at), End.COMPLETE, LEAF + at, ROOT + 1)


def test_behind_a_clone(walker):
    """The same instructions have a caller in the one thread and are the bottom of the other."""
    made = case([(LEAF, Rule(Cfa.CLONED)), (ROOT, BOTTOM)], words(CODE + ROOT + 1))
    ends(walker, made, End.COMPLETE, LEAF, ROOT + 1)
    ends(walker, replace(made, flags=INTERRUPTED | GAVE_ZERO), End.COMPLETE, LEAF)


def test_a_slot_that_another_executable_has_now(walker):
    made = case(LEAF_TO_ROOT, CALLED, fp=ODD)
    stale = replace(made, tables={FILE: (TABLE, 16), FILE + 1: (TABLE + FREE, 16)})
    walked = walker.walk(stale)
    assert (walked.frames, walked.chunks) == ([CODE + LEAF], [])


def test_the_vdso_is_a_file_as_others_are(walker):
    made = case(LEAF_TO_ROOT, CALLED)
    made = replace(
        made,
        ranges=[Range(CODE, CODE + CODE_SIZE, FILE_VDSO, 0)],
        tables={FILE_VDSO: made.tables[FILE]},
    )
    ends(walker, made, End.COMPLETE, LEAF, ROOT + 1)


def test_a_page_beyond_all_numbers(walker):
    far = [Range(CODE, CODE + CODE_SIZE, FILE, 1 << 43)]
    made = case(LEAF_TO_ROOT, CALLED, fp=ODD, ranges=far, tables={FILE: (TABLE, 10)})
    walked = walker.walk(made)
    assert (walked.end, walked.chunks) == (End.BAD_FRAME_POINTER, [])


offsets = st.one_of(
    st.integers(-40, 200), st.sampled_from([2**31 - 1, -(2**31), 0x10_0010, -0x7FFF_FFF8])
)
any_rule = st.builds(
    Rule, st.sampled_from(Cfa), offsets, st.sampled_from(Saved), st.integers(-(2**15), 2**15 - 1)
)
any_word = st.one_of(
    st.integers(CODE, CODE + CODE_SIZE),
    st.integers(STACK, STACK + STACK_SIZE),
    st.integers(0, 2**64 - 1),
)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.dictionaries(st.integers(0, CODE_SIZE - 1), any_rule, max_size=40),
    stack=st.lists(any_word, max_size=200),
    sp=any_word,
    fp=any_word,
    ip=st.integers(0, CODE_SIZE),
    flags=st.integers(0, 63),
)
def test_any_rows_over_any_memory(walker, rows, stack, sp, fp, ip, flags):
    """Whatever tables and memory say, a walk ends with a reason and shows code addresses only."""
    made = case(sorted(rows.items()), words(*stack), ip=ip, fp=fp, flags=flags, sp=sp)
    walked = walker.walk(made)
    assert walked.end in End
    assert len(walked.frames) <= MAX_FRAMES
    assert all(CODE <= address <= CODE + CODE_SIZE for address in walked.frames)
