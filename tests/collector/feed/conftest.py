# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

from collector.read.pins import Pins, open_newest
from tests.collector.feed.maps import empty
from tests.loader import stand


@pytest.fixture(scope="module")
def loaded_pins() -> Iterator[Pins]:
    """The pins of the real loader, which has gone."""
    with stand.make() as made:
        ended = made.load()
        assert ended.code == 0, ended.output
        yield open_newest(str(made.layout.pins))


@pytest.fixture
def pins(loaded_pins: Pins) -> Pins:
    """The same with empty maps of unwind tables."""
    empty(loaded_pins)
    return loaded_pins
