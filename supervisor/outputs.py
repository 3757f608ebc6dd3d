# SPDX-License-Identifier: Apache-2.0
"""The four files of a run. Root opens them, an unprivileged process fills them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from supervisor.errors import RefusalError

NAMES = {
    "profile": "profile.pb.gz",
    "collapsed": "profile.collapsed.txt",
    "flamegraph": "flamegraph.html",
    "summary": "summary.json",
}
"""Descriptor name, as the report knows it, to file name."""


class Outputs:
    """Four open temporary files in a directory, published together by `commit`."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if need be; RefusalError when it cannot be written."""
        self.directory = directory
        self._files: dict[str, int] = {}
        try:
            self._created = not directory.exists()
            directory.mkdir(parents=True, exist_ok=True)
            self._parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            for name in NAMES:
                self._files[name] = self._open(name)
        except OSError as error:
            raise RefusalError(
                f"{directory} cannot be written: {error.strerror}.", "Choose another OUT."
            ) from None

    @property
    def descriptors(self) -> list[tuple[int, str]]:
        return [(descriptor, name) for name, descriptor in self._files.items()]

    def commit(self) -> list[Path]:
        """Give the files their names and return them."""
        for name, descriptor in self._files.items():
            os.close(descriptor)
            os.rename(
                _temporary(name), NAMES[name], src_dir_fd=self._parent, dst_dir_fd=self._parent
            )
        self._files = {}
        return [self.directory / name for name in NAMES.values()]

    def close(self) -> None:
        """Remove what was not committed."""
        for name, descriptor in self._files.items():
            os.close(descriptor)
            os.unlink(_temporary(name), dir_fd=self._parent)
        if self._files and self._created:
            with contextlib.suppress(OSError):
                self.directory.rmdir()  # fails, as it should, if somebody else uses it by now
        self._files = {}
        os.close(self._parent)

    def _open(self, name: str) -> int:
        temporary = _temporary(name)
        # A leftover of a killed run, or a link that somebody planted: both go.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=self._parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, 0o644, dir_fd=self._parent)
        os.fchmod(descriptor, 0o644)
        return descriptor


def _temporary(name: str) -> str:
    return f".{NAMES[name]}.new"
