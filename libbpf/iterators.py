# SPDX-License-Identifier: Apache-2.0
"""Iterator programs: a link made from a held program descriptor, then read to the end."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator

from libbpf._libbpf import lib
from libbpf.errors import BpfError, check

CHUNK = 65536
RETRY_SECONDS = 0.001


def read(program: int, name: str, *, tid: int = 0, limit: int = 64 << 20) -> bytes:
    """All the iterator writes: of one thread, or of everything when tid is 0.

    Raises BpfError, with ESRCH when the thread is gone and EFBIG past `limit` bytes. May wait on
    the mmap lock of the process it reads: call it from a thread that may wait.
    """
    fd = check(lib.pa_iterator_open(program, tid), "BPF_ITER_CREATE", name)
    try:
        return _read_all(fd, name, limit)
    finally:
        os.close(fd)


def _read_all(fd: int, name: str, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in _parts(fd, name):
        size += len(part)
        if size > limit:
            raise BpfError("read", name, errno.EFBIG)
        parts.append(part)
    return b"".join(parts)


def _parts(fd: int, name: str) -> Iterator[bytes]:
    while True:
        try:
            part = os.read(fd, CHUNK)
        except BlockingIOError:  # the walk gave the CPU back: seq_file asks to come again
            time.sleep(RETRY_SECONDS)
            continue
        except OSError as error:
            raise BpfError("read", name, error.errno or 0) from error
        if not part:
            return
        yield part


def drain(program: int, name: str, keep: int = 0) -> bytes:
    """Runs the iterator for its effect in the kernel; the first `keep` bytes that it writes, of
    which the last record may be cut short."""
    fd = check(lib.pa_iterator_open(program, 0), "BPF_ITER_CREATE", name)
    kept = bytearray()
    try:
        for part in _parts(fd, name):
            kept += part[: keep - len(kept)]
        return bytes(kept)
    finally:
        os.close(fd)
