# SPDX-License-Identifier: Apache-2.0
"""Known functions: ranges never overlap, frames are shared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.model import Executable
from collector.symbolize.ranges import KnownFunctions

PROGRAM = Executable("/usr/bin/program", "ab")


def known(*ranges):
    functions = KnownFunctions(PROGRAM)
    for start, end, name in ranges:
        functions.add(start, end, name)
    return functions


def test_addresses_in_a_known_range_share_its_name():
    functions = known((16, 32, "main"), (32, 48, ""))
    assert functions.unknown([15, 16, 31, 32, 47, 48, 48]) == [15, 48]
    assert functions.frame(20).function == "main"
    assert functions.frame(40).function == ""
    assert functions.frame(48) is None


def test_the_same_address_is_the_same_frame():
    functions = known((0, 8, "f"))
    assert functions.frame(4) is functions.frame(4)
    assert functions.nameless(9) is functions.frame(9)


def test_ranges_and_frames_count():
    functions = known((0, 8, "f"), (8, 16, "g"))
    functions.frame(4)
    assert (len(functions), len(functions.copy())) == (3, 2)


def test_a_copy_goes_its_own_way():
    functions = known((0, 8, "f"))
    other = functions.copy()
    other.add(8, 16, "g")
    assert functions.frame(9) is None
    assert other.frame(4) == functions.frame(4)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=20))
def test_the_first_of_overlapping_ranges_stays(asked):
    functions = KnownFunctions(PROGRAM)
    owner = {}
    for number, (start, size) in enumerate(asked):
        functions.add(start, start + size, f"f{number}")
        if not any(address in owner for address in range(start, start + size)):
            owner |= dict.fromkeys(range(start, start + size), f"f{number}")
    found = {a: frame.function for a in range(60) if (frame := functions.frame(a)) is not None}
    assert found == owner
