# SPDX-License-Identifier: Apache-2.0
"""Whether the memory iterator is given away depends on what it did with the loader itself."""

from __future__ import annotations

import pytest

from tests.loader import tracer

pytestmark = pytest.mark.root

PRCTL, SET_DUMPABLE = 157, 4


def test_it_is_pinned_where_it_refuses_what_is_not_dumpable(stand):
    assert stand.load().code == 0
    assert "read_memory" in stand.pins()["gen-1"]
    assert "undumpable" in stand.report()["features"]["memory_iterator"]


def test_sec_21_it_is_not_pinned_where_the_flag_is_not_seen(stand):
    """As on a kernel that keeps the flag where nobody looks: the loader only believes to be
    undumpable."""

    def pretend(call):
        unseen = call.number == PRCTL and call.arguments[:2] == (SET_DUMPABLE, 0)
        return tracer.Fail(0) if unseen else None

    assert stand.load(pretend).code == 0
    (pins,) = stand.pins().values()
    assert "read_memory" not in pins
    assert "task_vma" in pins
    assert "does not show" in stand.report()["features"]["memory_iterator"]
