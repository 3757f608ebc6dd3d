# SPDX-License-Identifier: Apache-2.0
"""Files seen through the descriptor of their directory: whole or not at all, links refused."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from collector.spool.errors import SpoolError, SpoolUnreadableError

# Readable by the group that both halves share, and by nobody else.
MODE = 0o640

# A link, a device without a driver, a bad block: as it will be next time.
_LASTING = {errno.ELOOP, errno.ENXIO, errno.EIO}

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(path: Path) -> int:
    """A descriptor of the directory. Raises SpoolError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise SpoolError(f"{path}: {error.strerror}") from error


def read(directory: int, name: str, limit: int) -> bytes:
    """Content of a regular file of at most `limit` bytes. Raises SpoolError.

    FileNotFoundError passes through: the writer may delete a file between list and open.
    """
    data = read_beginning(directory, name, limit + 1)
    if len(data) > limit:
        raise SpoolError(f"{name}: more than {limit} bytes")
    return data


def read_beginning(directory: int, name: str, length: int) -> bytes:
    """The first `length` bytes, fewer if there are no more. Raises as read() does."""
    try:
        with os.fdopen(os.open(name, _READ, dir_fd=directory), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SpoolError(f"{name}: not a regular file")
            return file.read(min(length, status.st_size))
    except FileNotFoundError:
        raise
    except OSError as error:
        kind = SpoolError if error.errno in _LASTING else SpoolUnreadableError
        raise kind(f"{name}: {error.strerror}") from error


def write(directory: int, name: str, data: bytes) -> None:
    """Makes `name` hold `data`, or leaves it as it was; on disk when this returns.

    Raises OSError; nothing half-written stays, unless the process dies: see is_temporary().
    """
    temporary = f".{name}.tmp"
    remove(directory, temporary)
    fd = os.open(temporary, _WRITE, MODE, dir_fd=directory)
    try:
        _fill(fd, data)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        remove(directory, temporary)
        raise
    os.fsync(directory)


def _fill(fd: int, data: bytes) -> None:
    with os.fdopen(fd, "wb", buffering=0) as file:
        if stat.S_IMODE(os.fstat(fd).st_mode) != MODE:
            os.fchmod(fd, MODE)
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(fd)


def remove(directory: int, name: str) -> None:
    """Deletes a file that may be gone already. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def is_temporary(name: str) -> bool:
    """True for what write() leaves behind when its process dies in it."""
    return name.startswith(".") and name.endswith(".tmp")
