# SPDX-License-Identifier: Apache-2.0
"""Tables into the real maps: whole or not at all, within the cap, whoever was killed before."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collector.feed import layout
from collector.feed.loaded import HOT_SECONDS, Loaded, NoRoomError, TooLargeError
from libbpf import abi
from tests.collector.feed import maps
from tests.collector.feed.maps import chunks, identity

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[3]
OLD = int(time.monotonic()) - 10 * HOT_SECONDS


def loaded(pins, clock=time.monotonic):
    names = ("executables", "file_tables", "unwind_chunks")
    return Loaded(*(pins.maps[name] for name in names), clock)


def test_layout_is_that_of_the_abi():
    assert len(layout.Slot().pack()) == abi.size_of("executable") == maps.SLOT.size
    fields = abi.fields("executable")
    packed = layout.Slot(version=7).pack()
    offset, size = fields["version"]
    assert int.from_bytes(packed[offset : offset + size], sys.byteorder) == 7


def test_load_makes_chunks_slot_and_files(pins):
    one = loaded(pins)
    table = one.load(identity(1), 14, 77, chunks(5))
    one.know(99, table)
    one.know(100, 0)
    shift, used, name, count, rows, version, _ = maps.slots(pins)[table]
    assert (shift, name, count, rows) == (14, identity(1), 5, 77)
    assert table == version << abi.EXECUTABLE_BITS | layout.place_of(table)
    assert abs(used - time.monotonic()) < 2
    assert maps.keys(pins) == {table: {page << 3 for page in range(5)}}
    assert maps.files(pins) == {99: table, 100: 0}
    assert (one.find(identity(1)), one.table_of(99), one.table_of(100)) == (table, table, 0)
    key = layout.chunk_key(table, 3 << 3)
    value = pins.maps["unwind_chunks"].lookup(key)
    assert value == key + chunks(5)[3][1] + key


def test_unload_leaves_nothing_and_no_number_comes_back(pins):
    one = loaded(pins)
    seen = set()
    for _ in range(3):
        table = one.load(identity("again"), 16, 1, chunks(3))
        one.know(5, table)
        assert table not in seen
        seen.add(table)
        one.unload([table])
        assert not maps.slots(pins)
        assert not maps.keys(pins)
        assert not maps.files(pins)
        assert (one.used, one.tables, one.files, one.rows) == (0, 0, 0, 0)
    # nor where another process goes on, and every slot has its turn
    other = loaded(pins)
    for number in range(pins.maps["executables"].max_entries + 5):
        table = other.load(identity(number), 16, 1, chunks(1))
        assert table not in seen
        seen.add(table)
        other.unload([table])


def test_cap_holds_in_allocated_bytes_and_the_longest_unused_go(pins):
    one = loaded(pins)
    tables = [one.load(identity(n), 16, 1, chunks(1024)) for n in range(one.limit // 1024)]
    for number, table in enumerate(tables):
        maps.use(pins, table, OLD + number)
        one.know(1000 + number, table)
    assert one.memory == one.max_memory == 64 << 20
    assert 0.9 * one.max_memory < maps.charged(pins, "unwind_chunks") <= one.max_memory * 1.03
    new = one.load(identity("new"), 16, 1, chunks(1500))
    assert maps.slots(pins).keys() == {new, *tables[2:]}
    assert maps.files(pins) == {1000 + n: t for n, t in enumerate(tables) if n >= 2}
    assert one.counters.evicted == 2
    assert maps.whole(pins)
    assert one.memory <= one.max_memory
    assert maps.charged(pins, "unwind_chunks") <= one.max_memory * 1.03


def test_more_in_use_than_fits_evicts_nothing(pins):
    one = loaded(pins)
    hot = [one.load(identity(n), 16, 1, chunks(2048)) for n in range(one.limit // 2048)]
    maps.use(pins, hot[0], OLD)
    too_much = chunks(3000)
    before = time.thread_time()
    for attempt in range(200):
        with pytest.raises(NoRoomError):
            one.load(identity(("hot too", attempt)), 16, 1, too_much)
    spent = time.thread_time() - before
    print(f"no room: {1000 * spent / 200:.2f} ms of CPU")
    assert spent < 200 * 0.005
    assert maps.slots(pins).keys() == set(hot)
    assert (one.counters.no_room, one.counters.evicted) == (200, 0)
    # what is cold makes room as far as it goes
    one.load(identity("fits"), 16, 1, chunks(2000))
    assert hot[0] not in maps.slots(pins)


def test_what_can_never_fit_is_told_apart(pins):
    one = loaded(pins)
    with pytest.raises(TooLargeError):
        one.load(identity(1), 16, 1, chunks(one.limit + 1))
    assert one.counters.too_large == 1
    assert not maps.keys(pins)


def test_slots_are_bounded_like_chunks(pins):
    one = loaded(pins)
    tables = [one.load(identity(n), 16, 1, chunks(1)) for n in range(abi.EXECUTABLES)]
    with pytest.raises(NoRoomError):
        one.load(identity("hot"), 16, 1, chunks(1))
    maps.use(pins, tables[17], OLD)
    new = one.load(identity("new"), 16, 1, chunks(1))
    assert layout.place_of(new) == layout.place_of(tables[17])
    assert new != tables[17]


def test_files_are_bounded_and_those_without_a_table_go_first(pins):
    one = loaded(pins)
    old, new = (one.load(identity(n), 16, 1, chunks(1)) for n in (1, 2))
    maps.use(pins, old, OLD)
    limit = pins.maps["file_tables"].max_entries
    for file in range(2, 102):
        one.know(file, 0)
    for file in range(102, 202):
        one.know(file, old)
    for file in range(202, 2 + limit + 300):
        one.know(file, new)
        assert one.files <= limit
    known = maps.files(pins)
    assert len(known) <= limit
    assert set(known.values()) == {new}
    assert one.counters.files_evicted >= 300
    assert one.table_of(2) is None


def test_another_process_takes_over(pins):
    one = loaded(pins)
    table = one.load(identity(1), 12, 5, chunks(9))
    one.know(7, table)
    one.know(8, 0)
    other = loaded(pins)
    assert other.counters.kept == 1
    assert other.counters.strays == 0
    assert (other.find(identity(1)), other.table_of(7), other.table_of(8)) == (table, table, 0)
    assert (other.used, other.rows) == (9, 5)
    other.unload([table])
    assert not maps.keys(pins)


def test_takes_over_a_full_kernel_quickly(pins):
    one = loaded(pins)
    for number in range(one.limit // 16):
        one.load(identity(number), 16, 1, chunks(16))
    began = time.monotonic()
    other = loaded(pins)
    assert time.monotonic() - began < 1
    assert (other.tables, other.used) == (one.tables, one.limit)


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_point_the_next_one_cleans_up(pins, loaded_pins, seed):
    """Again and again over the same maps, each time a few changes later."""
    directory = str(Path(f"/proc/self/fd/{loaded_pins.directory}").readlink())
    died = 0
    for fatal in range(1 + seed, 60, 6):
        module = [sys.executable, "-m", "tests.collector.feed.loading"]
        arguments = [directory, f"{seed}-{fatal}", "12", str(fatal)]
        ended = subprocess.run([*module, *arguments], cwd=ROOT, check=False, timeout=60)
        died += ended.returncode == -signal.SIGKILL
        one = loaded(pins)
        assert maps.whole(pins)
        assert one.used == sum(map(len, maps.keys(pins).values()))
        assert one.tables == len(maps.slots(pins))
        assert maps.files(pins) == {file: one.table_of(file) for file in maps.files(pins)}
    assert died >= 5
