# SPDX-License-Identifier: Apache-2.0
"""The vDSO, which the kernel maps into every process and which lies in no file: our own copy."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_SYSINFO_EHDR = 33
"""AT_SYSINFO_EHDR of getauxval(3)."""

_LARGEST = 1 << 20


def copy() -> int | None:
    """A descriptor of the vDSO's bytes in a memory file; None where there is none.

    Reads /proc, so it is called before the door closes.
    """
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    start = int(getauxval(_SYSINFO_EHDR))
    end = _end_of(start, Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"))
    if not start or not start < end <= start + _LARGEST:
        return None
    fd = os.memfd_create("vdso", os.MFD_CLOEXEC)
    os.pwrite(fd, ctypes.string_at(start, end - start), 0)
    return fd


def _end_of(start: int, maps: str) -> int:
    """The end of the mapping that begins at `start`; 0 if none does."""
    prefix = f"{start:x}-"
    line = next((line for line in maps.splitlines() if line.startswith(prefix)), "")
    return int(line.removeprefix(prefix).split()[0], 16) if line else 0
