# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

from supervisor.backoff import FIRST_SECONDS, LIMIT_SECONDS, SETTLED_SECONDS, Backoff


def test_it_doubles_to_the_limit_and_counts() -> None:
    backoff = Backoff()
    delays = [backoff.after(0.1) for _ in range(12)]
    assert delays[:4] == [0.25, 0.5, 1.0, 2.0]
    assert delays[-1] == LIMIT_SECONDS
    assert all(after == min(2 * before, 30) for before, after in itertools.pairwise(delays))
    assert backoff.restarts == 12


def test_a_process_that_settled_starts_over() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(0.1)
    assert backoff.after(SETTLED_SECONDS) == FIRST_SECONDS
