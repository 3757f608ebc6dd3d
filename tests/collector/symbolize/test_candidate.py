# SPDX-License-Identifier: Apache-2.0
"""Which file is taken for the one that is mapped, on real files of this machine."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from collector.model import Mapping, MappingFlag
from collector.symbolize.candidate import (
    Opened,
    Refusal,
    identity_of,
    open_candidate,
    refusal_by_file,
    refusal_by_mapping,
)

EXT4, OVERLAYFS, BTRFS, NFS, FUSE = 0xEF53, 0x794C7630, 0x9123683E, 0x6969, 0x65735546
MAPPING = Mapping(0x1000, 0x2000, 0, 7, 42, EXT4, MappingFlag(0), "/usr/bin/program", 100)
OPENED = Opened(3, 7, 42, 100, 5, True, EXT4)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"flags": MappingFlag.ANONYMOUS | MappingFlag.VDSO}, Refusal.VDSO),
        ({"flags": MappingFlag.ANONYMOUS}, Refusal.ANONYMOUS),
        ({"flags": MappingFlag.PATH_TRUNCATED}, Refusal.PATH_TRUNCATED),
        ({"fs_magic": NFS}, Refusal.REMOTE),
        ({"fs_magic": FUSE}, Refusal.REMOTE),
        ({"path": "/usr/bin/program (deleted)"}, Refusal.DELETED),
        ({"path": "program"}, Refusal.UNREADABLE),
        ({"path": ""}, Refusal.UNREADABLE),
        ({"flags": MappingFlag.WRITABLE | MappingFlag.SHARED}, None),
    ],
)
def test_refused_before_anything_is_opened(changes, expected):
    assert refusal_by_mapping(replace(MAPPING, **changes)) == expected


@pytest.mark.parametrize(
    ("mapping", "opened", "expected"),
    [
        ({}, {}, None),
        ({}, {"regular": False}, Refusal.NOT_REGULAR),
        ({}, {"inode": 43}, Refusal.OTHER_FILE),
        ({}, {"device": 8}, Refusal.OTHER_FILE),
        ({}, {"fs_magic": FUSE}, Refusal.REMOTE),
        # The candidate lies on an overlay: its device is the overlay's own.
        ({}, {"device": 8, "fs_magic": OVERLAYFS}, None),
        ({}, {"device": 8, "fs_magic": OVERLAYFS, "size": 101}, Refusal.OTHER_FILE),
        ({"fs_magic": OVERLAYFS}, {"device": 8, "fs_magic": OVERLAYFS}, None),
        ({"fs_magic": OVERLAYFS}, {"device": 8, "fs_magic": EXT4}, Refusal.OTHER_FILE),
        ({"fs_magic": OVERLAYFS}, {"device": 8, "fs_magic": OVERLAYFS, "inode": 1},
         Refusal.OTHER_FILE),
        ({"fs_magic": BTRFS}, {"device": 8, "fs_magic": BTRFS}, None),
        ({}, {"device": 8, "fs_magic": BTRFS}, Refusal.OTHER_FILE),
    ],
)  # fmt: skip
def test_sec_17_a_path_is_only_a_hint(mapping, opened, expected):
    assert refusal_by_file(replace(MAPPING, **mapping), replace(OPENED, **opened)) == expected


def test_an_open_candidate_says_what_stat_says(tmp_path):
    path = tmp_path / "program"
    path.write_bytes(b"x" * 10)
    opened = open_candidate(str(path))
    os.close(opened.fd)
    status = path.stat()
    assert opened.identity == (status.st_dev, status.st_ino, 10, status.st_mtime_ns)
    assert opened.identity == identity_of(str(path))
    assert opened.regular


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_sec_08_what_is_no_file_neither_hangs_nor_counts_as_one(tmp_path, kind):
    path = tmp_path / "thing"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    opened = open_candidate("/dev/null" if kind == "device" else str(path))
    os.close(opened.fd)
    assert not opened.regular


def test_sec_08_a_symbolic_link_is_not_followed(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        open_candidate(str(tmp_path / "link"))


def test_sec_08_a_file_of_proc_lies_on_no_local_file_system():
    opened = open_candidate("/proc/self/status")
    os.close(opened.fd)
    assert refusal_by_file(MAPPING, opened) == Refusal.REMOTE


def test_descriptors_are_not_inherited(tmp_path):
    (tmp_path / "program").touch()
    opened = open_candidate(str(tmp_path / "program"))
    assert not os.get_inheritable(opened.fd)
    os.close(opened.fd)
