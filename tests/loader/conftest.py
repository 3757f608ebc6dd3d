# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loader.stand import Stand, make


@pytest.fixture
def stand() -> Iterator[Stand]:
    """Where the real loader can be started."""
    with make() as made:
        yield made
