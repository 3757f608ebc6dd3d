# SPDX-License-Identifier: Apache-2.0
"""Bytes of mapped executables, by the iterator program `read_memory` and its map of requests.

What may be read is decided by the program (bpf/memory.bpf.c), for whoever asks.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from libbpf import iterators
from libbpf._libbpf import ffi, lib
from libbpf.errors import BpfError, check

NAME = "read_memory"
READ: int = lib.MEMORY_READ
MOST_BYTES: int = lib.MEMORY_BYTES
DENIALS: dict[int, str] = {
    number: name.removeprefix("MEMORY_DENIED_").lower()
    for number, name in ffi.typeof("enum memory_denial").elements.items()
    if number != READ
}
"""enum memory_denial -> the end of its counter's name."""


class Program(NamedTuple):
    """A program run, as the iterators tell it: tgid, ns since boot at its start, times it ran
    execve."""

    tgid: int
    start_time: int
    exec_id: int


class Part(NamedTuple):
    """What is wanted of a mapped file: `length` bytes, at most MOST_BYTES, at `address`.

    executable is an address in an executable mapping of it, header that of its first byte.
    """

    executable: int
    header: int
    address: int
    length: int


class Answer(NamedTuple):
    """status: READ, or a key of DENIALS; then there are no bytes."""

    status: int
    data: bytes


def ask(program: int, requests: int, who: Program, part: Part) -> Answer:
    """For one caller at a time: there is one place for a request.

    Raises BpfError, with ESRCH when the process is gone. May wait for the file system that the
    file lies on.
    """
    request = ffi.new("struct memory_request *")
    request.tgid, request.start_time, request.exec_id = who
    request.executable, request.header, request.address, request.length = part
    check(lib.bpf_map_update_elem(requests, bytes(4), request, 0), "BPF_MAP_UPDATE_ELEM", NAME)
    return _answer(iterators.read(program, NAME, tid=who.tgid))


def _answer(raw: bytes) -> Answer:
    size = ffi.sizeof("struct memory_record")
    if len(raw) < size:
        raise BpfError("read", NAME, errno.ESRCH)
    record = ffi.new("struct memory_record *")
    ffi.memmove(record, raw, size)
    if record.kind != lib.RECORD_MEMORY or record.size != len(raw):
        raise BpfError("read", NAME, errno.EBADMSG)
    return Answer(record.status, raw[size:])
