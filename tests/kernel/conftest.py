# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel import programs


@pytest.fixture(scope="module")
def readable() -> Iterator[Path]:
    """A directory for programs that the agent can read."""
    with programs.directory() as path:
        yield path
