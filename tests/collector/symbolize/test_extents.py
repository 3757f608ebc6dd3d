# SPDX-License-Identifier: Apache-2.0
"""Any answer of the worker gives extents that can be, or WireError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.symbolize.extents import Extent, parse_extents
from collector.worker.wire import MAX_EXTENTS, WireError

NUMBERS = st.integers() | st.sampled_from([0, 1, -1, 1 << 63, True, None, 1.5, "1"])
ROWS = st.lists(st.lists(NUMBERS, min_size=2, max_size=4) | NUMBERS, max_size=4)


@given(st.fixed_dictionaries({}, optional={"extents": ROWS | NUMBERS}))
def test_sec_20_any_object_gives_extents_or_one_error(answer):
    try:
        extents = parse_extents(answer)
    except WireError:
        return
    for offset, distance, size in extents:
        assert 0 <= offset < 1 << 63
        assert -(1 << 63) < distance < 1 << 63
        assert 0 < size < 1 << 63


def test_extents():
    answer = {"extents": [[0, -4096, 8], [4096, 0, 1]]}
    assert parse_extents(answer) == (Extent(0, -4096, 8), Extent(4096, 0, 1))
    for bad in ([0, 0, 0], [-1, 0, 1], [0, 0, 1 << 63], [True, 0, 1], [0, 0], [0, 0.0, 1]):
        with pytest.raises(WireError):
            parse_extents({"extents": [bad]})
    with pytest.raises(WireError):
        parse_extents({"extents": [[0, 0, 1]] * (MAX_EXTENTS + 1)})
