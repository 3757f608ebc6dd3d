# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from collector.model import Executable, Frame, Profile, Series

SECOND = 1_000_000_000
BEGAN = 1_795_000_000 * SECOND

KERNEL = Executable("[kernel.kallsyms]", "")
PYTHON = Executable("/usr/bin/python3.11", "a1b2c3d4e5f60718293a")
LIBC = Executable("/usr/lib/libc.so.6", "58254ca972028402bc40")

MAIN = Frame(PYTHON, 0x1000, "main", "/usr/bin/python3.11")
LOOP = Frame(PYTHON, 0x2000, "loop", "/usr/bin/python3.11")
READ = Frame(LIBC, 0x3000, "read", "/usr/lib/libc.so.6")
NAMELESS = Frame(LIBC, 0x4000, "")
KERNEL_READ = Frame(KERNEL, 0, "vfs_read", "vmlinux")
EXITED = Frame(Executable("[exited]", ""), 0, "[exited]", "[exited]")


def labels(pid: int, comm: str) -> tuple[tuple[str, str], ...]:
    return (
        ("arch", "x86_64"),
        ("comm", comm),
        ("executable", "python3.11"),
        ("kernel_release", "6.1.0"),
        ("node", "host.example"),
        ("pid", str(pid)),
    )


@pytest.fixture
def profile() -> Profile:
    """Two processes of one name, 19 Hz, 50 samples; leaf first."""
    first = (((LOOP, MAIN), 30), ((KERNEL_READ, READ, MAIN), 10), ((NAMELESS, MAIN), 4))
    second = (((LOOP, MAIN), 5), ((EXITED,), 1))
    return Profile(
        BEGAN,
        10 * SECOND,
        SECOND // 19,
        (Series(labels(7, "python3"), first), Series(labels(8, "python3"), second)),
    )
