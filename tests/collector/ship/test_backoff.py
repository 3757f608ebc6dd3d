# SPDX-License-Identifier: Apache-2.0
"""Waits grow, are spread over their whole range, and end at the cap."""

from hypothesis import given
from hypothesis import strategies as st

from collector.ship.backoff import Backoff


@given(st.integers(1, 10**9))
def test_a_wait_is_between_least_and_cap(failures):
    backoff = Backoff(base=1, cap=120, least=0.05)
    assert 0.05 <= backoff.seconds(failures) <= min(120, 2 ** min(failures - 1, 10))


def test_waits_are_spread_and_grow():
    backoff = Backoff(base=1, cap=64)
    first = [backoff.seconds(1) for _ in range(2000)]
    later = [backoff.seconds(6) for _ in range(2000)]
    assert max(first) <= 1 < 12 < sum(later) / len(later) < 20
    assert min(later) < 2
    assert max(later) > 28
