# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collector.status.rates import Rates


def test_a_rate_is_what_one_window_added_per_second():
    rates = Rates()
    rates.update(100.0, {"counted": 1000})
    assert rates.per_second == {}
    rates.update(110.0, {"counted": 1380, "lost": 5})
    assert rates.per_second == {"counted": 38.0, "lost": 0.5}


def test_a_counter_that_fell_started_again():
    rates = Rates()
    rates.update(0.0, {"counted": 1000})
    rates.update(10.0, {"counted": 20})
    assert rates.per_second == {"counted": 2.0}


def test_no_time_no_rate():
    rates = Rates()
    rates.update(5.0, {"counted": 1})
    rates.update(5.0, {"counted": 9})
    assert rates.per_second == {}
