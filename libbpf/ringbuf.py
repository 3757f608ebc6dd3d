# SPDX-License-Identifier: Apache-2.0
"""The event ring buffer, drained into bytes."""

from __future__ import annotations

import errno
import os

from libbpf._libbpf import ffi, lib
from libbpf.errors import BpfError


class RingBuffer:
    """Consumer of a ring buffer of equal-sized records. One a process.

    Opening maps the ring, so it happens before the door closes; reading makes no system call.
    """

    def __init__(self, map_fd: int, record_size: int, records: int = 1024) -> None:
        self._ring = lib.pa_ring_open(map_fd)
        if self._ring == ffi.NULL:
            raise BpfError("ring_buffer__new", "events", ffi.errno)
        self._buffer = ffi.new("char[]", record_size * records)
        self.map_fd = map_fd

    def read(self) -> bytes:
        """Records that have come, back to back; empty when there are none."""
        used = lib.pa_ring_read(self._ring, self._buffer, len(self._buffer))
        if used < 0:
            raise BpfError("ring_buffer__consume", "events", -used or errno.EIO)
        return bytes(ffi.buffer(self._buffer, used))

    def close(self) -> None:
        lib.ring_buffer__free(self._ring)
        os.close(self.map_fd)
