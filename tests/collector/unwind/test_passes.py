# SPDX-License-Identifier: Apache-2.0
"""Each pass on two rows."""

from __future__ import annotations

from array import array
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from collector.unwind import passes
from collector.unwind.frames import Frames
from collector.unwind.rows import BOTTOM_ID, END_ID

A, B = 3, 4


def frames(*functions):
    """Each (start, size, [(step, number), …])."""
    made = Frames()
    for start, size, rows in functions:
        made.starts.append(start)
        made.sizes.append(size)
        made.programs.append(len(made.bounds) - 1)
        made.steps.extend(step for step, _ in rows)
        made.numbers.extend(number for _, number in rows)
        made.bounds.append(len(made.steps))
    return made


def test_functions_outside_the_code_are_dropped():
    made = frames((0, 8, [(0, A)]), (0x1000, 8, [(0, B)]))
    assert passes.reachable(made, [(0x1000, 0x2000)]) == [1]
    assert passes.reachable(made, [(0x800, 0x1000)]) == []
    assert passes.reachable(made, [(0, 8), (0xFFF, 0x1001)]) == [0, 1]


def test_functions_are_put_in_order_and_the_last_at_an_address_holds():
    made = frames((32, 8, [(0, A)]), (16, 8, [(0, A)]), (16, 8, [(0, B)]))
    assert passes.ordered(made, [0, 1, 2]) == [2, 0]


def test_a_gap_gets_an_end_marker_and_padding_gets_none():
    made = frames((0, 8, [(0, A)]), (16, 8, [(0, B)]), (48, 8, [(0, A)]))
    rows = [(0, A), (16, B), (24, END_ID), (48, A), (56, END_ID)]
    assert list(passes.expanded(made, [0, 1, 2], 16)) == rows


def test_a_short_gap_before_an_unaligned_function_is_no_padding():
    made = frames((0, 8, [(0, A)]), (15, 8, [(0, B)]))
    assert (8, END_ID) in passes.expanded(made, [0, 1], 16)


def test_rows_behind_the_end_of_their_function_are_dropped():
    made = frames((0, 8, [(0, A), (8, B)]))
    assert list(passes.expanded(made, [0], 16)) == [(0, A), (8, END_ID)]


def test_of_two_functions_that_overlap_the_later_one_holds():
    made = frames((0, 100, [(0, A), (50, B)]), (50, 10, [(0, A)]))
    assert list(passes.expanded(made, [0, 1], 16)) == [(0, A), (50, A), (60, END_ID)]


def test_equal_neighbours_are_merged():
    assert list(passes.merged([(0, A), (8, A), (16, B)])) == [(0, A), (16, B)]


def test_of_rows_at_one_address_the_last_holds():
    assert list(passes.merged([(0, A), (8, B), (8, A)])) == [(0, A)]


def test_an_end_marker_before_the_first_row_says_nothing():
    assert list(passes.merged([(0, END_ID), (8, A)])) == [(8, A)]


def test_a_patch_takes_the_place_of_rows():
    rows = [(0, A), (8, B), (16, A)]
    assert list(passes.patched(rows, [(4, 12, END_ID)])) == [
        (0, A), (4, END_ID), (12, B), (16, A),
    ]  # fmt: skip
    assert list(passes.patched(rows, [(16, 20, B)])) == [(0, A), (8, B), (16, B), (20, A)]
    assert list(passes.patched([], [(4, 8, A)])) == [(4, A), (8, END_ID)]


def test_gaps_lie_before_the_first_row_and_behind_end_markers():
    assert list(passes.gaps([(8, A), (16, END_ID)], 32)) == [(0, 8), (16, 32)]
    assert list(passes.gaps([(0, A)], 32)) == []


def test_common_parts():
    assert list(passes.common([(0, 10), (20, 30)], [(5, 25)])) == [(5, 10), (20, 25)]
    assert list(passes.common([(0, 100)], [(5, 10), (20, 30)])) == [(5, 10), (20, 30)]


ROWS = st.dictionaries(st.integers(0, 60), st.integers(0, 4)).map(lambda d: sorted(d.items()))
PATCH = st.tuples(st.integers(0, 60), st.integers(1, 9), st.integers(1, 4))


def spread(rows, size=80):
    """The number that holds at each address."""
    out, number, rows = [], END_ID, dict(rows)
    for address in range(size):
        number = rows.get(address, number)
        out.append(number)
    return out


@given(ROWS)
def test_merging_changes_no_answer_and_leaves_no_equal_neighbours(rows):
    short = list(passes.merged(rows))
    assert spread(short) == spread(rows)
    numbers = [END_ID, *(number for _, number in short)]
    assert all(a != b for a, b in pairwise(numbers))


@given(ROWS, st.lists(PATCH, max_size=4))
def test_patching_changes_the_answers_within_patches_only(rows, wanted):
    patches, position = [], 0
    for start, size, number in sorted(wanted):
        if start >= position:
            patches.append((start, start + size, number))
            position = start + size
    expected = spread(rows)
    for start, end, number in patches:
        expected[start:end] = [number] * (end - start)
    result = list(passes.patched(rows, patches))
    assert spread(result) == expected
    assert result == sorted(result, key=lambda row: row[0])


@given(ROWS)
def test_gaps_are_where_no_function_is(rows):
    inside = {a for low, high in passes.gaps(rows, 80) for a in range(low, high)}
    assert inside == {a for a, number in enumerate(spread(rows)) if number == END_ID}


def test_arrays_stay_small():
    made = frames((0, 8, [(0, A)]))
    assert [array.itemsize for array in (made.sizes, made.steps, made.numbers)] == [4, 4, 2]
    assert isinstance(made.starts, array)


def test_a_short_gap_between_an_entered_function_and_a_bottom_is_a_clone():
    rows = [(0, B), (16, A), (48, END_ID), (58, BOTTOM_ID), (74, A)]
    assert list(passes.clones(rows, A, 16)) == [(48, 58)]
    assert not list(passes.clones(rows, B, 16))
    far = [(16, A), (48, END_ID), (48 + passes.LONGEST_CLONE + 1, BOTTOM_ID)]
    aligned = [(16, A), (48, END_ID), (64, BOTTOM_ID)]
    function = [(16, A), (48, END_ID), (58, B)]
    for others in (far, aligned, function):
        assert not list(passes.clones(others, A, 16))
