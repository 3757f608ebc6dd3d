# SPDX-License-Identifier: Apache-2.0
"""Reading a spool that somebody else writes, and that may be full of traps."""

from __future__ import annotations

import os
from pathlib import Path

from collector.spool import files
from collector.spool.errors import SpoolError
from collector.spool.format import HEADER_SIZE, MAX_FILE, Header, number_of, unpack, unpack_header


class SpoolReader:
    """An open spool directory; names it gives are valid and sorted by age.

    Raises SpoolError if the directory cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._directory = files.open_directory(path)

    def close(self) -> None:
        os.close(self._directory)

    def changed_ns(self) -> int:
        """A number that differs once a file has come or gone; cheaper than a list."""
        return os.fstat(self._directory).st_mtime_ns

    def names(self, after: str = "") -> list[str]:
        """Windows younger than the one named `after`, oldest first."""
        names = os.listdir(self._directory)  # noqa: PTH208 -- a descriptor has no path
        return sorted(name for name in names if name > after and number_of(name) is not None)

    def has(self, name: str) -> bool:
        """True if there is something of that name."""
        try:
            os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except OSError:
            return False
        return True

    def read(self, name: str) -> tuple[Header, bytes]:
        """Header and payload of a window, checked.

        Raises SpoolError, its kind SpoolUnreadableError if a later try may succeed, or
        FileNotFoundError if it is gone.
        """
        data = files.read(self._directory, name, MAX_FILE)
        try:
            return unpack(data)
        except SpoolError as error:
            raise SpoolError(f"{name}: {error}") from None

    def header(self, name: str) -> Header:
        """Only the header, checked by itself. Raises as read() does."""
        data = files.read_beginning(self._directory, name, HEADER_SIZE)
        try:
            return unpack_header(data).header
        except SpoolError as error:
            raise SpoolError(f"{name}: {error}") from None
