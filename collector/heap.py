# SPDX-License-Identifier: Apache-2.0
"""Memory that is freed goes back to the kernel: glibc's allocator, mallopt(3) and malloc_trim(3).

By itself it gives each thread an arena of its own, maps no large piece apart once one was freed,
and keeps what is free below anything in use: what a window or a table took for a moment stays with
the process. Where the C library knows none of this, nothing is done.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""malloc.h's numbers."""

_LARGE = 128 * 1024
"""Bytes: glibc's thresholds as they are at the start, from then on fixed."""

_LIBC = ctypes.CDLL(None)


def settle() -> None:
    """To be called before there are threads."""
    if mallopt := getattr(_LIBC, "mallopt", None):
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)


def trim() -> None:
    """Gives back every free page; a few milliseconds."""
    if malloc_trim := getattr(_LIBC, "malloc_trim", None):
        malloc_trim(0)
