# SPDX-License-Identifier: Apache-2.0
"""What all questions of one window may take together."""

import pytest

from collector.symbolize.asking import WINDOW_SECONDS, Asker, Counters
from collector.symbolize.candidate import Opened, Refusal, RefusedError
from collector.symbolize.client import Description

ANSWER = Description("ab", "gnu", ())


class SlowWorker:
    """A client whose every answer takes as long as the worker may, by a clock of its own."""

    def __init__(self, seconds):
        self.now = 0.0
        self.asked = 0
        self._seconds = seconds

    def describe(self, _fd):
        self.now += self._seconds
        self.asked += 1
        return ANSWER


def opened(number):
    return Opened(0, 1, number, 1, 1, True, 0xEF53)


def test_many_slow_files_do_not_hold_the_window_up():
    worker = SlowWorker(1.5)
    counters = Counters()
    asker = Asker(worker, counters, lambda: worker.now)
    asker.start_window()
    for number in range(3):
        asker.describe(opened(number))
    for number in range(3, 20):
        with pytest.raises(RefusedError) as refused:
            asker.describe(opened(number))
        assert refused.value.refusal is Refusal.WORKER_UNAVAILABLE
    assert worker.now < WINDOW_SECONDS + 1.5
    assert (worker.asked, counters.over_budget) == (3, 17)


def test_the_next_window_asks_again():
    worker = SlowWorker(WINDOW_SECONDS)
    asker = Asker(worker, Counters(), lambda: worker.now)
    asker.describe(opened(1))
    with pytest.raises(RefusedError):
        asker.describe(opened(2))
    asker.start_window()
    assert asker.describe(opened(2)) == ANSWER
