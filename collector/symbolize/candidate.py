# SPDX-License-Identifier: Apache-2.0
"""Whether the file at a mapping's path is the file that is mapped.

The path is a hint from another mount namespace and may lead anywhere: to a FIFO, a network
file system, another file. Accepted is a regular file with the mapping's device and inode, on
a file system of this host. overlayfs and btrfs show stat(2) another device than the kernel
sees; there the inode must agree and the candidate must lie on such a file system itself.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from collector.model import Mapping, MappingFlag

_BTRFS = 0x9123683E
_OVERLAYFS = 0x794C7630

LOCAL_FILE_SYSTEMS = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        _BTRFS,
        0x01021994,  # tmpfs
        _OVERLAYFS,
        0x73717368,  # squashfs
        0xF2F52010,  # f2fs
        0xE0F5E1E2,  # erofs
        0x2FC12FC1,  # zfs
        0x858458F6,  # ramfs, rootfs
        0xCA451A4E,  # bcachefs
        0x9660,  # isofs
    }
)
"""s_magic of linux/magic.h whose reads need nobody but this kernel. FUSE, NFS, CIFS: refused."""

DELETED = " (deleted)"
"""What the kernel adds to the path of a file that has no name any more."""

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY

_libc = ctypes.CDLL(None, use_errno=True)

Identity = tuple[int, int, int, int]
"""Device, inode, size and mtime in nanoseconds: the same while nobody writes to the file."""


class Refusal(StrEnum):
    """Why the frames of a mapping have no executable; the values are counter names."""

    VDSO = "vdso"
    ANONYMOUS = "anonymous"
    DELETED = "deleted"
    REMOTE = "remote"
    PATH_TRUNCATED = "path_truncated"
    UNREADABLE = "unreadable"
    NOT_REGULAR = "not_regular"
    OTHER_FILE = "other_file"
    HANGS = "hangs"
    NOT_ELF = "not_elf"
    KILLED_WORKER = "killed_worker"
    WORKER_UNAVAILABLE = "worker_unavailable"
    GONE = "gone"


class RefusedError(Exception):
    """This mapping's file is not read."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Opened:
    """An open candidate and what fstat(2) and fstatfs(2) say about it."""

    fd: int
    device: int
    inode: int
    size: int
    mtime_ns: int
    regular: bool
    fs_magic: int

    @property
    def identity(self) -> Identity:
        return self.device, self.inode, self.size, self.mtime_ns


def refusal_by_mapping(mapping: Mapping) -> Refusal | None:
    """What speaks against a mapping before anything is opened."""
    against = (
        (mapping.flags & MappingFlag.VDSO, Refusal.VDSO),
        (mapping.flags & MappingFlag.ANONYMOUS, Refusal.ANONYMOUS),
        (mapping.fs_magic not in LOCAL_FILE_SYSTEMS, Refusal.REMOTE),
        (mapping.flags & MappingFlag.PATH_TRUNCATED, Refusal.PATH_TRUNCATED),
        (mapping.path.endswith(DELETED), Refusal.DELETED),
        (not mapping.path.startswith("/"), Refusal.UNREADABLE),
    )
    return next((refusal for holds, refusal in against if holds), None)


def refusal_by_file(mapping: Mapping, opened: Opened) -> Refusal | None:
    """What speaks against the file found at the mapping's path."""
    if not opened.regular:
        return Refusal.NOT_REGULAR
    if opened.fs_magic not in LOCAL_FILE_SYSTEMS:
        return Refusal.REMOTE
    if opened.inode != mapping.inode:
        return Refusal.OTHER_FILE
    if opened.device == mapping.device:
        return None
    # these two report another device to stat(2) than the mapping has: the size must agree too
    stacked = opened.fs_magic == _OVERLAYFS or opened.fs_magic == _BTRFS == mapping.fs_magic
    return None if stacked and opened.size == mapping.file_size else Refusal.OTHER_FILE


def open_candidate(path: str) -> Opened:
    """Open without following a final link or waiting for a FIFO's writer.

    Raises OSError, or ValueError for a path that no file can have. May hang on a file system
    that does not answer: see opener.py.
    """
    fd = os.open(path, _OPEN_FLAGS)
    try:
        status = os.fstat(fd)
        return Opened(
            fd=fd,
            device=status.st_dev,
            inode=status.st_ino,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            regular=stat.S_ISREG(status.st_mode),
            fs_magic=_fs_magic(fd),
        )
    except BaseException:
        os.close(fd)
        raise


def identity_of(path: str) -> Identity | None:
    """The identity of what is at `path` now; None when that cannot be said."""
    try:
        status = Path(path).stat(follow_symlinks=False)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _fs_magic(fd: int) -> int:
    """f_type, the first member of struct statfs, which Python's statvfs leaves out."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.fstatfs(fd, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    magic: int = struct.unpack_from("@l", buffer)[0]
    return magic & 0xFFFFFFFF
