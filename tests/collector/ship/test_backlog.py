# SPDX-License-Identifier: Apache-2.0
"""The next window is found, in order, once, without listing every time."""

import os

import pytest

from collector.ship.backlog import Backlog
from collector.spool.format import name_of
from collector.spool.reader import SpoolReader


class Spool(SpoolReader):
    """It has a clock, and says how long a list takes."""

    lists = 0
    now = 0.0
    cost = 0.02

    def names(self, after=""):
        self.lists += 1
        self.now += self.cost
        return super().names(after)

    def backlog(self):
        return Backlog(self, "", clock=lambda: self.now)


@pytest.fixture
def put(tmp_path):
    def put(*numbers):
        for number in numbers:
            (tmp_path / name_of(number)).write_bytes(b"")

    return put


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path)
    yield spool
    spool.close()


def drain(backlog):
    return list(iter(backlog.next, None))


def test_all_after_the_cursor_oldest_first(spool, put):
    put(3, 1, 9)
    assert drain(Backlog(spool, "")) == [name_of(n) for n in (1, 3, 9)]
    assert drain(Backlog(spool, name_of(1))) == [name_of(n) for n in (3, 9)]
    assert drain(Backlog(spool, name_of(9))) == []


def test_a_successor_is_found_without_a_list(spool, put):
    put(7)
    backlog = spool.backlog()
    assert drain(backlog) == [name_of(7)]
    for number in range(8, 20):
        put(number)
        assert drain(backlog) == [name_of(number)]
    assert spool.lists == 1


@pytest.mark.parametrize(("cost", "pause"), [(0.0001, 0.1), (0.002, 2.0), (0.02, 15.0)])
def test_a_gap_is_crossed_by_the_next_list_which_comes_the_sooner_the_less_it_costs(
    spool, put, cost, pause
):
    spool.cost = cost
    put(7)
    backlog = spool.backlog()
    assert drain(backlog) == [name_of(7)]
    put(1000, 1001)
    spool.now += 0.99 * pause
    assert drain(backlog) == []
    spool.now += 0.02 * pause
    assert drain(backlog) == [name_of(1000), name_of(1001)]


def test_an_unchanged_directory_is_not_listed(spool, tmp_path):
    backlog = spool.backlog()
    os.utime(tmp_path, (1, 1))
    for _ in range(100):
        spool.now += 10
        assert drain(backlog) == []
    assert spool.lists == 1


def test_two_files_of_one_instant_are_both_found(spool, put, tmp_path):
    backlog = spool.backlog()
    put(7)
    instant = tmp_path.stat().st_mtime_ns
    assert drain(backlog) == [name_of(7)]
    put(900)
    os.utime(tmp_path, ns=(instant, instant))
    spool.now += 15
    assert drain(backlog) == [name_of(900)]
