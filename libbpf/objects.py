# SPDX-License-Identifier: Apache-2.0
"""Embedded BPF objects: open, set constants, share maps, load, attach, pin. The loader's half."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from libbpf._libbpf import ffi, lib
from libbpf.errors import BpfError, check, text_of


class BpfObject:
    """One embedded object on its way into the kernel. Order: open, set/share/size, load."""

    def __init__(self, name: str) -> None:
        lib.pa_log_clear()
        self.name = name
        self._object = lib.pa_object_open(name.encode())
        if self._object == ffi.NULL:
            raise BpfError("bpf_object__open", name, ffi.errno, text_of(lib.pa_log()))

    def set_constant(self, name: str, value: int) -> None:
        """Sets a `const volatile` number; its C type must be bool, __u32 or __u64."""
        for size in (4, 8, 1):
            raw = value.to_bytes(8, "little")[:size]
            if lib.pa_set_constant(self._object, name.encode(), raw, size) == 0:
                return
        raise BpfError("set constant", f"{self.name}.{name}", ffi.errno)

    def maps(self) -> Iterator[tuple[str, Any]]:
        """Name and handle of each map that is not a section of global data."""
        handle = lib.bpf_object__next_map(self._object, ffi.NULL)
        while handle != ffi.NULL:
            if not lib.bpf_map__is_internal(handle):
                yield text_of(lib.bpf_map__name(handle)), handle
            handle = lib.bpf_object__next_map(self._object, handle)

    def share_maps(self, known: dict[str, int]) -> None:
        """Uses the maps in `known` (name -> fd) instead of creating those of the same name."""
        for name, handle in self.maps():
            if name in known:
                check(lib.bpf_map__reuse_fd(handle, known[name]), "bpf_map__reuse_fd", name)

    def set_max_entries(self, sizes: dict[str, int]) -> None:
        for name, handle in self.maps():
            if name in sizes:
                check(lib.bpf_map__set_max_entries(handle, sizes[name]), "max_entries of", name)

    def load(self) -> None:
        lib.pa_log_clear()
        check(lib.bpf_object__load(self._object), "BPF_PROG_LOAD", self.name, log=True)

    def map_fds(self) -> dict[str, int]:
        return {name: lib.bpf_map__fd(handle) for name, handle in self.maps()}

    def program_fd(self, name: str) -> int:
        return check(lib.bpf_program__fd(self._program(name)), "program", name)

    def programs(self) -> list[str]:
        names: list[str] = []
        handle = lib.bpf_object__next_program(self._object, ffi.NULL)
        while handle != ffi.NULL:
            names.append(text_of(lib.bpf_program__name(handle)))
            handle = lib.bpf_object__next_program(self._object, handle)
        return names

    def attach(self, program: str) -> Link:
        """Attaches by the program's own section name."""
        return Link(program, lib.bpf_program__attach(self._program(program)))

    def attach_perf_event(self, program: str, perf_fd: int) -> Link:
        """Attaches to an open perf event; the link owns the descriptor from here on."""
        handle = lib.bpf_program__attach_perf_event(self._program(program), perf_fd)
        return Link(program, handle)

    def close(self) -> None:
        lib.bpf_object__close(self._object)

    def _program(self, name: str) -> Any:
        handle = lib.bpf_object__find_program_by_name(self._object, name.encode())
        if handle == ffi.NULL:
            raise BpfError("program", name, ffi.errno)
        return handle


class Link:
    """An attached program; gone when closed unless pinned before."""

    def __init__(self, name: str, handle: Any) -> None:
        if handle == ffi.NULL:
            raise BpfError("attach", name, ffi.errno)
        self._handle = handle

    @property
    def fd(self) -> int:
        return check(lib.bpf_link__fd(self._handle), "link", "fd")

    def close(self) -> None:
        lib.bpf_link__destroy(self._handle)


def pin(fd: int, path: str) -> None:
    check(lib.bpf_obj_pin(fd, os.fsencode(path)), "BPF_OBJ_PIN", path)


def read_first(fd: int, name: str, size: int) -> bytes:
    """Element 0 of an array map with values of `size` bytes."""
    value = ffi.new("char[]", size)
    check(lib.bpf_map_lookup_elem(fd, bytes(4), value), "BPF_MAP_LOOKUP_ELEM", name)
    return bytes(ffi.buffer(value))


def write_first(fd: int, name: str, value: bytes) -> None:
    """Sets element 0 of an array map."""
    check(lib.bpf_map_update_elem(fd, bytes(4), value, 0), "BPF_MAP_UPDATE_ELEM", name)


def freeze(fd: int, name: str) -> None:
    """Makes a map read-only for system calls, for good."""
    check(lib.bpf_map_freeze(fd), "BPF_MAP_FREEZE", name)


def open_perf_event(cpu: int, period_ns: int) -> int:
    """Descriptor of a CPU-clock event on `cpu` that fires each period_ns while it is not idle."""
    return check(lib.pa_perf_event_open(cpu, period_ns), "perf_event_open", f"CPU {cpu}")
