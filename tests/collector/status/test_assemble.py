# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

from collector.spool.cursor import Cursor
from collector.status import assemble

ABI = Path(__file__).parents[3] / "bpf" / "abi.h"
OUTCOMES = {"recorded": 90, "skipped_idle": 1000, "lost_a": 7, "lost_b": 3}


def test_what_was_skipped_is_no_sample():
    samples = assemble.samples(OUTCOMES, {"recorded": 9.0, "lost_b": 0.5, "events_sent": 3.0})
    assert (samples.total, samples.dropped) == (100, 10)
    assert (samples.per_second, samples.dropped_per_second) == (9.5, 0.5)
    assert samples.outcomes == OUTCOMES
    assert set(samples.outcomes_per_second) == set(OUTCOMES)


def test_before_the_first_window_there_are_no_rates():
    samples = assemble.samples(OUTCOMES, {})
    assert samples.per_second == 0
    assert set(samples.outcomes_per_second.values()) == {0.0}


def test_the_share_of_whole_user_stacks():
    stacks = assemble.stacks(5, {"recorded": 9, "user_complete": 3, "user_truncated": 1})
    assert stacks.user_ends == {"user_complete": 3, "user_truncated": 1}
    assert stacks.user_complete_percent == 75.0
    assert assemble.stacks(0, {"user_complete": 0}).user_complete_percent == 0


def test_the_names_are_those_of_the_kernel_side():
    struct = re.search(r"struct counters \{(.*?)\};", ABI.read_text(), re.DOTALL)
    names = re.findall(r"__u64 (\w+);", struct[1])
    assert assemble.RECORDED in names
    assert assemble.USER_COMPLETE in names
    assert any(name.startswith(assemble.LOST) for name in names)


def test_a_destination_that_was_never_reached():
    cursor = Cursor("main", attempts=3, last_error="refused", last_error_time_ns=5)
    upload = assemble.upload(cursor, pending=4, now_ns=9)
    assert (upload.acknowledged, upload.acknowledged_age_seconds) == ("", None)
    assert (upload.pending, upload.last_error) == (4, "refused")
    assert upload.counters["attempts"] == 3


def test_an_error_before_the_last_success_is_over():
    cursor = Cursor(
        "main", acknowledged_time_ns=10**9, last_error="refused", last_error_time_ns=5, windows=2
    )
    upload = assemble.upload(cursor, pending=0, now_ns=3 * 10**9)
    assert (upload.windows, upload.last_error, upload.acknowledged_age_seconds) == (2, "", 2.0)


def test_a_clock_that_went_back_gives_no_negative_age():
    cursor = Cursor("main", acknowledged_time_ns=10**9)
    assert assemble.upload(cursor, 0, now_ns=0).acknowledged_age_seconds == 0
