# SPDX-License-Identifier: Apache-2.0
"""The shipper's own directory: one cursor for each destination there is or ever was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from collector.spool import cursor as cursors


def retire_others(path: Path, directory: int, destinations: Iterable[str]) -> None:
    """Marks cursors of destinations that are not configured, so that they hold nothing back.

    They are kept: a destination that comes back goes on where it stopped. Raises OSError.
    """
    current = set(destinations)
    for cursor in cursors.read_all(path).cursors:
        if cursor.active and cursor.destination not in current:
            cursors.store(directory, replace(cursor, active=False))
