# SPDX-License-Identifier: Apache-2.0
"""Descriptors of what is pinned in a bpffs."""

from __future__ import annotations

import os

from libbpf._libbpf import lib
from libbpf.errors import check

BPF_F_RDONLY = 1 << 3  # include/uapi/linux/bpf.h


def open_pin(path: str, *, read_only: bool) -> int:
    """Descriptor of the map or program pinned at `path`; it keeps the access asked for here."""
    flags = BPF_F_RDONLY if read_only else 0
    return check(lib.pa_obj_get(os.fsencode(path), flags), "BPF_OBJ_GET", path)
