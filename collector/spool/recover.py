# SPDX-License-Identifier: Apache-2.0
"""What a start finds in a spool whose last writer may have been killed at any point."""

from __future__ import annotations

import contextlib
import os
import stat
import time

from collector.spool import files
from collector.spool.counters import SpoolCounters
from collector.spool.errors import SpoolError
from collector.spool.format import HEADER_SIZE, MAX_FILE, Header, name_of, number_of, unpack
from collector.spool.index import Entry, Index, size_on_disk

# Holds a number that no window has reached yet, for the day the directory is emptied.
RESERVED = ".reserved"


def scan(directory: int, now: float, counters: SpoolCounters) -> Index:
    """The windows of a directory; half-written files are removed and counted.

    now is the time on the clock of Entry.born: a file's age is taken from its date once,
    here, and grows by that clock afterwards, so that later jumps of the date mean nothing.
    """
    entries = []
    with os.scandir(directory) as found:
        for item in found:
            entry = _entry(item, now)
            if entry is not None:
                entries.append(entry)
            elif files.is_temporary(item.name) or number_of(item.name) is not None:
                _remove(directory, item, counters)
            elif item.name != RESERVED:
                counters.foreign_files += 1
    index = Index()
    for entry in sorted(entries, key=lambda entry: entry.number):
        index.add(entry)
    return index


def _entry(item: os.DirEntry[str], now: float) -> Entry | None:
    number = number_of(item.name)
    status = item.stat(follow_symlinks=False)
    whole = stat.S_ISREG(status.st_mode) and HEADER_SIZE <= status.st_size <= MAX_FILE
    if number is None or not whole:
        return None
    age = max(0.0, time.time() - status.st_mtime)
    return Entry(number, size_on_disk(status.st_size), now - age)


def _remove(directory: int, item: os.DirEntry[str], counters: SpoolCounters) -> None:
    if item.is_dir(follow_symlinks=False):
        counters.foreign_files += 1
        return
    files.remove(directory, item.name)
    counters.torn_files += 1


def newest_header(directory: int, index: Index, counters: SpoolCounters) -> Header | None:
    """Header of the newest whole window; younger ones that are not whole are removed.

    Only here the payload is checked as well: it is the end that a lost write would miss.
    """
    while (newest := index.newest) is not None:
        name = name_of(newest.number)
        with contextlib.suppress(SpoolError, FileNotFoundError):
            return unpack(files.read(directory, name, MAX_FILE))[0]
        index.drop_newest()
        files.remove(directory, name)
        counters.torn_files += 1
    return None


def reserved_number(directory: int) -> int:
    """The number in the reservation, 0 without one."""
    try:
        return int(files.read(directory, RESERVED, 32))
    except (FileNotFoundError, SpoolError, ValueError):
        return 0
