# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor import directories, mounts
from supervisor.layout import Layout

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture
def layout() -> Iterator[Layout]:
    """Directories of a test's own that the agent's users can reach; gone afterwards."""
    base = Path(f"/run/parca-agent-test-{secrets.token_hex(4)}")
    base.mkdir()
    where = Layout(base / "run", base / "state", base / "ship")
    yield where
    mounts.remove_pins(where.pins)
    mounts.unmount_under(base)
    directories.clear_run(where.run, remove=True)
    for directory in (where.spool, where.cache, where.state, where.ship):
        if directory.exists():
            for path in directory.iterdir():
                path.unlink()
            directory.rmdir()
    base.rmdir()
