# SPDX-License-Identifier: Apache-2.0
"""Cursors as the collector reads them: hostile until proven otherwise."""

import json
import os
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.spool import cursor, files
from collector.spool.cursor import Cursor, Cursors
from collector.spool.errors import SpoolError
from collector.spool.format import name_of

counts = st.integers(0, 2**64 - 1)
windows = st.integers(1, 10**18).map(name_of)
cursors = st.builds(
    Cursor,
    destination=st.text(max_size=60),
    active=st.booleans(),
    acknowledged=windows | st.just(""),
    acknowledged_time_ns=counts,
    windows=counts,
    bytes=counts,
    attempts=counts,
    parked=counts,
    parked_names=st.lists(windows, max_size=cursor.MAX_PARKED_NAMES).map(tuple),
    corrupt=counts,
    vanished=counts,
    last_error=st.text(max_size=60),
    last_error_time_ns=counts,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(cursors)
def test_what_was_packed_is_parsed(one):
    data = cursor.pack(one)
    assert len(data) <= cursor.MAX_SIZE
    assert cursor.parse(data) == one


@given(st.binary(max_size=200))
def test_any_bytes_are_a_cursor_or_a_spool_error(data):
    with pytest.raises(SpoolError):
        cursor.parse(data)


@given(st.dictionaries(st.sampled_from(sorted(asdict(Cursor("")))), json_values))
def test_any_object_is_a_cursor_or_a_spool_error(values):
    try:
        found = cursor.parse(json.dumps(values).encode())
    except SpoolError:
        return
    assert cursor.parse(cursor.pack(found)) == found


def test_deep_nesting_is_a_spool_error():
    with pytest.raises(SpoolError):
        cursor.parse(b"[" * 100_000)


def test_settled_is_what_every_active_destination_has():
    far, near = name_of(9), name_of(4)
    assert Cursors(()).settled() == ""
    ahead = Cursor("a", acknowledged=far)
    assert Cursors((ahead, Cursor("b", acknowledged=near))).settled() == near
    assert Cursors((ahead, Cursor("b"))).settled() == ""
    left = Cursor("b", active=False, acknowledged=near)
    assert Cursors((ahead, left)).settled() == far
    assert Cursors((Cursor("a", acknowledged=near), left)).highest() == near


def test_a_directory_is_read_with_whatever_lies_in_it(tmp_path):
    directory = files.open_directory(tmp_path)
    cursor.store(directory, Cursor("parca", acknowledged=name_of(7)))
    os.close(directory)
    (tmp_path / "link.json").symlink_to("parca.json")
    (tmp_path / "renamed.json").write_bytes(cursor.pack(Cursor("parca")))
    (tmp_path / "big.json").write_bytes(b" " * (cursor.MAX_SIZE + 1))
    (tmp_path / ".x.json.tmp").write_bytes(b"{")
    found = cursor.read_all(tmp_path)
    assert [one.destination for one in found.cursors] == ["parca"]
    assert found.refused == 3
    assert cursor.read_all(tmp_path / "absent") == Cursors(())


def test_no_more_than_so_many_are_read(tmp_path):
    for number in range(cursor.MAX_CURSORS + 3):
        (tmp_path / f"d{number}.json").write_bytes(cursor.pack(Cursor(f"d{number}")))
    found = cursor.read_all(tmp_path)
    assert (len(found.cursors), found.refused) == (cursor.MAX_CURSORS, 3)


def test_a_stored_cursor_is_readable_by_the_group_alone(tmp_path):
    directory = files.open_directory(tmp_path)
    previous = os.umask(0o077)
    try:
        cursor.store(directory, Cursor("parca"))
    finally:
        os.umask(previous)
        os.close(directory)
    assert (tmp_path / "parca.json").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["parca.json"]
