# SPDX-License-Identifier: Apache-2.0
"""Which mapping an address belongs to, and which process is forgotten when."""

from hypothesis import given
from hypothesis import strategies as st

from collector.mappings.table import (
    LONGEST_PAUSE,
    PAUSE_PER_MAPPING,
    SHORTEST_PAUSE,
    Known,
    ProcessTable,
)
from collector.model import Mapping, MappingFlag, ProcessId

EXECUTABLE = MappingFlag(0)


def mapping(start, end, path="/x", flags=EXECUTABLE):
    return Mapping(start, end, 0, 1, 1, 0xEF53, flags, path)


def test_find():
    known = Known()
    known.set_mappings((mapping(10, 20), mapping(30, 40)), 0.0)
    assert known.find(9) is None
    assert known.find(10).start == known.find(19).start == 10
    assert known.find(20) is None
    assert known.find(39).start == 30
    assert known.find(40) is None


ranges = st.lists(st.integers(0, 200), unique=True, max_size=12).map(
    lambda points: tuple(
        mapping(a, b) for a, b in zip(sorted(points)[::2], sorted(points)[1::2], strict=False)
    )
)


@given(ranges, ranges)
def test_a_fresh_walk_wins_and_what_it_does_not_cover_stays(before, after):
    known = Known()
    known.set_mappings(before, 0.0)
    known.set_mappings(after, 1.0)
    for address in range(201):
        found = known.find(address)
        fresh = next((m for m in after if m.start <= address < m.end), None)
        if fresh:
            assert found == fresh
        elif found:
            assert found in before
    assert known.starts == sorted(known.starts)


def test_walks_that_find_nothing_new_become_rare_until_one_does():
    known = Known()
    known.set_mappings((mapping(10, 20),), 0.0)
    assert known.walk_again == PAUSE_PER_MAPPING
    pauses = []
    for now in range(100, 2000, 100):
        known.set_mappings((mapping(10, 20),), float(now))
        pauses.append(known.walk_again - now)
    assert pauses == sorted(pauses)
    assert pauses[0] == SHORTEST_PAUSE
    assert pauses[-1] == LONGEST_PAUSE
    known.set_mappings((mapping(10, 20), mapping(30, 40)), 3000.0)
    assert known.walk_again == 3000.0 + 2 * PAUSE_PER_MAPPING


def test_a_walk_that_takes_long_is_not_worth_it_soon():
    known = Known()
    for now in (0.0, 100.0):
        known.set_mappings(tuple(mapping(2 * n, 2 * n + 1) for n in range(12_000)), now)
        assert known.walk_again == now + 12_000 * PAUSE_PER_MAPPING


def test_the_program_is_the_file_mapped_lowest():
    known = Known()
    known.set_mappings(
        (
            mapping(1, 2, "", MappingFlag.ANONYMOUS),
            mapping(10, 20, "/bin/a"),
            mapping(30, 40, "/lib/b"),
        ),
        0.0,
    )
    assert known.executable == "/bin/a"
    assert Known().executable == ""


def test_the_least_recently_used_goes_first_and_is_counted():
    table = ProcessTable(limit=2)
    a, b, c = (ProcessId(pid, 1, 1) for pid in (1, 2, 3))
    table.get_or_add(a)
    table.get_or_add(b)
    table.get_or_add(a)
    table.get_or_add(c)
    assert table.get(b) is None
    assert table.get(a) is not None
    assert table.evicted == 1


def test_what_ended_stays_until_it_is_forgotten():
    table = ProcessTable()
    process = ProcessId(1, 1, 1)
    table.get_or_add(process)
    table.end(process)
    table.end(ProcessId(2, 1, 1))
    for _ in range(2):
        assert table.get(process) is not None
        table.forget_ended()
    assert table.get(process) is None
