# SPDX-License-Identifier: Apache-2.0
"""Every gRPC status has a meaning for the window."""

import grpc
import pytest

from collector.ship.verdict import MAX_AMBIGUOUS_ATTEMPTS, Answer, Verdict, judge

PARKED = {"INVALID_ARGUMENT", "OUT_OF_RANGE"}
AMBIGUOUS = {"UNKNOWN", "INTERNAL", "DATA_LOSS", "FAILED_PRECONDITION", "ALREADY_EXISTS"}
NAMES = [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("name", NAMES)
def test_first_and_later_attempts(name):
    first = judge(Answer(name), 1)
    later = judge(Answer(name), 10**6)
    if name in PARKED:
        assert first is later is Verdict.PARKED
    elif name in AMBIGUOUS:
        assert (first, later) == (Verdict.RETRY, Verdict.PARKED)
        assert judge(Answer(name), MAX_AMBIGUOUS_ATTEMPTS - 1) is Verdict.RETRY
    else:
        assert first is later is Verdict.RETRY


def test_what_was_taken_is_settled():
    assert judge(Answer("OK"), 1) is Verdict.ACCEPTED


def test_too_large_is_for_good_and_too_busy_is_not():
    large = Answer("RESOURCE_EXHAUSTED", "grpc: received message larger than max (9 vs. 4)")
    assert judge(large, 1) is Verdict.PARKED
    assert judge(Answer("RESOURCE_EXHAUSTED", "too many requests"), 99) is Verdict.RETRY


def test_what_never_left_is_tried_again():
    assert judge(Answer("LOCAL", "no token"), 99) is Verdict.RETRY
