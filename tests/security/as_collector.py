# SPDX-License-Identifier: Apache-2.0
"""Everything somebody with the collector's uid and groups can read through the pins.

No door is closed here: this is the collector taken over before it could close one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import grp
import mmap
import os
import pickle
import pwd
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libbpf import iterators
from libbpf.errors import BpfError
from libbpf.maps import Map
from libbpf.pins import open_pin
from supervisor.layout import COLLECTOR, PINS, SPOOL

BPF = 321  # asm/unistd_64.h
COMMANDS = {"MAP_CREATE": 0, "PROG_LOAD": 5, "PROG_GET_FD_BY_ID": 13, "MAP_GET_FD_BY_ID": 14,
            "MAP_FREEZE": 22, "LINK_GET_FD_BY_ID": 30}  # fmt: skip
OBJ_GET_INFO_BY_FD = 15
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Found:
    """Bytes by where they came from; the elements of maps by the map's name; what was refused."""

    raw: dict[str, bytes] = field(default_factory=dict)
    elements: dict[str, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)


def run(action: Callable[[], Any]) -> Any:
    """What `action` returns in a child with the collector's identity and no capability."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([grp.getgrnam(name).gr_gid for name in (PINS, SPOOL)])
            user = pwd.getpwnam(COLLECTOR)
            os.setresgid(*[user.pw_gid] * 3)
            os.setresuid(*[user.pw_uid] * 3)
            result = action()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent raises it
            result = RuntimeError(repr(error))
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(result, stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        result = pickle.load(stream)
    os.waitpid(pid, 0)
    if isinstance(result, RuntimeError):
        raise result
    return result


def everything(bpffs: Path) -> Found:
    """Reads all that can be read below `bpffs`, in whatever way the kernel offers."""
    found = Found()
    for parent, _, names in os.walk(bpffs):
        for name in names:
            path = f"{parent}/{name}"
            _read_file(path, name, found)
            try:
                _read_object(path, name, found)
            except BpfError as error:
                found.refused[name] = error.errno or 0
    return found


def _read_file(path: str, name: str, found: Found) -> None:
    """open(2) and read(2): of maps the kernel prints the elements."""
    with contextlib.suppress(OSError), open(path, "rb") as file:  # noqa: PTH123
        found.raw[f"{name} as a file"] = file.read(64 << 20)


def _read_object(path: str, name: str, found: Found) -> None:
    descriptor = _open(path)
    found.raw[f"{name} info"] = _info(descriptor)
    found.raw[f"{name} fdinfo"] = Path(f"/proc/self/fdinfo/{descriptor}").read_bytes()
    if b"map_type:" not in found.raw[f"{name} fdinfo"]:
        found.raw[f"{name} output"] = iterators.read(descriptor, name)
        return
    one = Map.of(name, descriptor)
    kind = int(found.raw[f"{name} fdinfo"].split(b"map_type:\t")[1].split()[0])
    if kind == 27:
        found.raw[f"{name} pages"] = _ring(descriptor, one.max_entries)
    else:
        found.elements[name] = list(_elements(one, per_cpu=kind == 6))


def _open(path: str) -> int:
    try:
        return open_pin(path, read_only=False)
    except BpfError:
        return open_pin(path, read_only=True)


def _elements(one: Map, *, per_cpu: bool) -> Iterator[tuple[bytes, bytes]]:
    if one.max_entries == 1:
        key = bytes(one.key_size)
        for value in one.lookup_per_cpu(key) if per_cpu else [one.lookup(key) or b""]:
            yield key, value
        return
    yield from one.items()


def _ring(descriptor: int, size: int) -> bytes:
    """Both positions and all records, old ones too. linux/kernel/bpf/ringbuf.c"""
    page = mmap.PAGESIZE
    with mmap.mmap(descriptor, page) as consumer:
        positions = consumer[:]
    length = page + 2 * size
    with mmap.mmap(descriptor, length, prot=mmap.PROT_READ, offset=page) as records:
        return positions + records[:]


def bpf(command: int, attributes: bytes) -> int:
    """Raw bpf(2): a descriptor or number, or -errno."""
    buffer = ctypes.create_string_buffer(attributes, 128)
    ctypes.set_errno(0)
    result = _libc.syscall(BPF, command, buffer, 128)
    return int(result) if result >= 0 else -ctypes.get_errno()


def _info(descriptor: int) -> bytes:
    """All the kernel tells of an object by its descriptor."""
    info = ctypes.create_string_buffer(256)
    attributes = descriptor.to_bytes(4, "little") + (256).to_bytes(4, "little")
    attributes += ctypes.addressof(info).to_bytes(8, "little")
    if bpf(OBJ_GET_INFO_BY_FD, attributes) < 0:
        return b""
    return info.raw


def by_number() -> dict[str, set[int]]:
    """The answers to asking for maps, programs and links by their numbers, up to 4096."""
    return {
        name: {bpf(COMMANDS[name], number.to_bytes(4, "little")) for number in range(1, 4096)}
        for name in ("MAP_GET_FD_BY_ID", "PROG_GET_FD_BY_ID", "LINK_GET_FD_BY_ID")
    }


def widen(generation: Path) -> dict[str, int]:
    """Attempts to change what decides over emitted words: name -> errno, 0 if it worked."""
    control = Map.open_pin(f"{generation}/control")
    active = Map.open_pin(f"{generation}/active_set")
    frozen = Map.open_pin(f"{generation}/set_0", read_only=True)
    counters = Map.open_pin(f"{generation}/counters", read_only=True)
    program = open_pin(f"{generation}/task_vma", read_only=True)
    attempts: dict[str, Callable[[], object]] = {
        "a map of another shape as the active set": lambda: active.update(
            bytes(4), control.fd.to_bytes(4, "little")
        ),
        "a program as the active set": lambda: active.update(
            bytes(4), program.to_bytes(4, "little")
        ),
        "another number for a set": lambda: frozen.update(bytes(4), b"\2\0\0\0"),
        "counters set back": lambda: counters.update(bytes(4), bytes(counters.value_size)),
    }
    return {name: _errno(attempt) for name, attempt in attempts.items()}


def _errno(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except BpfError as error:
        return error.errno or errno.EIO
    return 0
