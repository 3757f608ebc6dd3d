# SPDX-License-Identifier: Apache-2.0
"""Opening with a deadline: a file system that does not answer costs a thread, not the agent."""

from __future__ import annotations

import os
import threading

import pytest

from collector.symbolize.candidate import Refusal, RefusedError, open_candidate
from collector.symbolize.opener import MAX_STUCK, Opener


def refusal_of(opener, path):
    with pytest.raises(RefusedError) as caught:
        opener.open(path)
    return caught.value.refusal


def test_a_file_opens(tmp_path):
    (tmp_path / "program").write_text("x")
    opener = Opener()
    for _ in range(3):
        opened = opener.open(str(tmp_path / "program"))
        assert os.read(opened.fd, 1) == b"x"
        os.close(opened.fd)
    assert opener.stuck == 0


@pytest.mark.parametrize("path", ["/does/not/exist", "/nul\0byte", "/\udcff\ud800"])
def test_what_cannot_be_opened_is_unreadable(path):
    assert refusal_of(Opener(), path) is Refusal.UNREADABLE


class Hanging:
    """An open(2) that sleeps until it is released, and says which files it opened."""

    def __init__(self):
        self.released = threading.Event()
        self.opened = []

    def __call__(self, path):
        if path.endswith("slow"):
            self.released.wait()
        opened = open_candidate(path)
        self.opened.append(opened.fd)
        return opened


def wait_until(condition):
    pause = threading.Event()
    while not condition():
        pause.wait(0.005)


def test_sec_18_a_path_that_hangs_is_given_up_and_put_away_later(tmp_path):
    (tmp_path / "slow").touch()
    (tmp_path / "quick").touch()
    hanging = Hanging()
    opener = Opener(deadline=0.02, open_path=hanging)
    assert refusal_of(opener, str(tmp_path / "slow")) is Refusal.HANGS
    assert opener.stuck == 1
    opened = Opener(deadline=5).open(str(tmp_path / "quick"))
    os.close(opened.fd)
    hanging.released.set()
    wait_until(lambda: opener.stuck == 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(hanging.opened[0])


def test_sec_18_only_so_many_threads_may_hang(tmp_path):
    (tmp_path / "slow").touch()
    hanging = Hanging()
    opener = Opener(deadline=0.01, open_path=hanging)
    for _ in range(MAX_STUCK):
        assert refusal_of(opener, str(tmp_path / "slow")) is Refusal.HANGS
    threads = threading.active_count()
    assert refusal_of(opener, str(tmp_path / "slow")) is Refusal.HANGS
    assert (opener.stuck, threading.active_count()) == (MAX_STUCK, threads)
    hanging.released.set()
    wait_until(lambda: opener.stuck == 0)
