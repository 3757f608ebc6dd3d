# SPDX-License-Identifier: Apache-2.0
"""How far a destination has got: one small JSON file each, written by the shipper.

Windows are sent in the order of their names, so one name says which are settled: it and
all before it. The collector reads cursors to know what it may delete without loss.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from collector.spool import files
from collector.spool.errors import SpoolError
from collector.spool.format import number_of

SUFFIX = ".json"
MAX_CURSORS = 64
MAX_SIZE = 16 << 10

# Long enough for any message worth reading, short enough to keep a cursor in one block.
MAX_ERROR = 400
MAX_PARKED_NAMES = 16


@dataclass(frozen=True, slots=True)
class Cursor:
    """State and counters of one destination, kept over restarts. Times are ns since the epoch.

    acknowledged: name of the youngest window that is settled, "" for none.
    active: False once the destination has left the configuration; it then holds nothing back.
    windows, bytes: accepted by the server. attempts: tries that failed.
    parked: windows the server will never take; parked_names are the last few of them.
    corrupt: windows that could not be read. vanished: deleted before they were sent.
    """

    destination: str
    active: bool = True
    acknowledged: str = ""
    acknowledged_time_ns: int = 0
    windows: int = 0
    bytes: int = 0
    attempts: int = 0
    parked: int = 0
    parked_names: tuple[str, ...] = ()
    corrupt: int = 0
    vanished: int = 0
    last_error: str = ""
    last_error_time_ns: int = 0


def pack(cursor: Cursor) -> bytes:
    """The file's content."""
    return json.dumps(asdict(cursor), indent=1).encode() + b"\n"


def parse(data: bytes) -> Cursor:
    """The cursor in a file's content; unknown keys are ignored. Raises SpoolError."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SpoolError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise SpoolError("not a JSON object")
    values: dict[str, Any] = {
        field.name: found[field.name] for field in fields(Cursor) if field.name in found
    }
    for name, value in values.items():
        if not _CHECKS.get(name, _is_count)(value):
            raise SpoolError(f"{name} has an impossible value")
    if "destination" not in values:
        raise SpoolError("no destination")
    return Cursor(**{**values, "parked_names": tuple(values.get("parked_names", ()))})


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_ERROR


def _is_window(value: object) -> bool:
    return isinstance(value, str) and number_of(value) is not None


def _are_windows(value: object) -> bool:
    return (
        isinstance(value, list) and len(value) <= MAX_PARKED_NAMES and all(map(_is_window, value))
    )


# The rest are counters and times.
_CHECKS: dict[str, Callable[[object], bool]] = {
    "destination": _is_text,
    "active": lambda value: isinstance(value, bool),
    "acknowledged": lambda value: value == "" or _is_window(value),
    "parked_names": _are_windows,
    "last_error": _is_text,
}


def load(directory: int, destination: str) -> Cursor:
    """The destination's cursor, a fresh one if there is none. Raises SpoolError."""
    try:
        cursor = parse(files.read(directory, destination + SUFFIX, MAX_SIZE))
    except FileNotFoundError:
        return Cursor(destination)
    if cursor.destination != destination:
        raise SpoolError(f"{destination}{SUFFIX} belongs to {cursor.destination!r}")
    return cursor


def store(directory: int, cursor: Cursor) -> None:
    """Replaces the destination's cursor; on disk when this returns. Raises OSError."""
    files.write(directory, cursor.destination + SUFFIX, pack(cursor))


@dataclass(frozen=True, slots=True)
class Cursors:
    """All cursors of a directory; refused counts files that were none."""

    cursors: tuple[Cursor, ...]
    refused: int = 0

    def settled(self) -> str:
        """Name of the youngest window that every active destination has settled, "" for none."""
        active = [cursor.acknowledged for cursor in self.cursors if cursor.active]
        return min(active, default="")

    def highest(self) -> str:
        """Name of the youngest window anyone has settled, "" for none."""
        return max((cursor.acknowledged for cursor in self.cursors), default="")


def read_all(path: Path) -> Cursors:
    """The cursors in a directory; nothing in it, hostile or missing, is an error."""
    try:
        directory = files.open_directory(path)
    except SpoolError:
        return Cursors(())
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 -- a descriptor has no path
        wanted = [name for name in names if name.endswith(SUFFIX) and not name.startswith(".")]
        return _read(directory, wanted)
    finally:
        os.close(directory)


def _read(directory: int, names: Sequence[str]) -> Cursors:
    cursors = []
    for name in names[:MAX_CURSORS]:
        try:
            cursors.append(load(directory, name.removesuffix(SUFFIX)))
        except SpoolError:
            continue
    return Cursors(tuple(cursors), len(names) - len(cursors))
