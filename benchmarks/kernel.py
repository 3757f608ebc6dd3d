# SPDX-License-Identifier: Apache-2.0
"""What the kernel says about the agent's BPF programs and maps, for root: times and memory.

Numbers come from fdinfo (proc(5)), ids from bpf(2), whose attributes are laid out in
include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from libbpf.pins import open_pin

BPF_PROG_GET_FD_BY_ID = 13
BPF_MAP_GET_FD_BY_ID = 14
BPF_OBJ_GET_INFO_BY_FD = 15
SYS_BPF = 321  # x86_64
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
MOST_MAPS = 64
PROGRAM_INFO_BYTES, NR_MAP_IDS, MAP_IDS, NAME = 80, 52, 56, 64
MAP_NAME = 24

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Runs:
    """How often a program ran and how long in all; both stand still unless stats are enabled."""

    count: int
    nanoseconds: int

    def since(self, before: Runs) -> Runs:
        return Runs(self.count - before.count, self.nanoseconds - before.nanoseconds)


class Program:
    """A held program: it and its numbers outlive its links."""

    def __init__(self, number: int) -> None:
        self.fd = _bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))
        self.name, self.map_ids = _program_info(self.fd)

    @classmethod
    def of_link(cls, pin: Path) -> Program:
        """The program that a pinned link runs."""
        with _open(pin) as fd:
            return cls(int(fdinfo(fd)["prog_id"]))

    @classmethod
    def of_pin(cls, pin: Path) -> Program:
        with _open(pin) as fd:
            return cls(int(fdinfo(fd)["prog_id"]))

    def runs(self) -> Runs:
        fields = fdinfo(self.fd)
        return Runs(int(fields["run_cnt"]), int(fields["run_time_ns"]))

    def close(self) -> None:
        os.close(self.fd)


def map_memory(number: int) -> tuple[str, int]:
    """Name and memory in bytes of the map with this id."""
    fd = _bpf(BPF_MAP_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))
    try:
        info = _info(fd, PROGRAM_INFO_BYTES)
        name = info[MAP_NAME : MAP_NAME + 16].split(b"\0", 1)[0].decode()
        return name, int(fdinfo(fd)["memlock"])
    finally:
        os.close(fd)


@contextlib.contextmanager
def statistics() -> Iterator[None]:
    """kernel.bpf_stats_enabled, as long as this is entered."""
    before = STATS.read_text()
    STATS.write_text("1")
    try:
        yield
    finally:
        STATS.write_text(before)


def fdinfo(fd: int) -> dict[str, str]:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key: value.strip() for key, value in pairs}


@contextlib.contextmanager
def _open(pin: Path) -> Iterator[int]:
    fd = open_pin(str(pin), read_only=False)
    try:
        yield fd
    finally:
        os.close(fd)


def _program_info(fd: int) -> tuple[str, tuple[int, ...]]:
    ids = (ctypes.c_uint32 * MOST_MAPS)()
    asked = bytearray(PROGRAM_INFO_BYTES)
    struct.pack_into("=I", asked, NR_MAP_IDS, MOST_MAPS)
    struct.pack_into("=Q", asked, MAP_IDS, ctypes.addressof(ids))
    info = _info(fd, PROGRAM_INFO_BYTES, bytes(asked))
    (count,) = struct.unpack_from("=I", info, NR_MAP_IDS)
    name = info[NAME : NAME + 16].split(b"\0", 1)[0].decode()
    return name, tuple(ids[: min(count, MOST_MAPS)])


def _info(fd: int, size: int, asked: bytes = b"") -> bytes:
    info = ctypes.create_string_buffer(asked.ljust(size, b"\0"), size)
    _bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, size, ctypes.addressof(info)))
    return info.raw


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(16, b"\0"), max(16, len(attributes)))
    result = int(_libc.syscall(SYS_BPF, command, buffer, len(buffer)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"bpf({command}): {os.strerror(number)}")
    return result
