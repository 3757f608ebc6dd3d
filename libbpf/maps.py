# SPDX-License-Identifier: Apache-2.0
"""Maps by descriptor: open a pin, look up, update, walk and empty in batches."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from libbpf._libbpf import ffi, lib
from libbpf.errors import BpfError, check
from libbpf.pins import open_pin


@dataclass(frozen=True, slots=True)
class Map:
    """An open map. Keys and values are bytes of exactly key_size and value_size."""

    name: str
    fd: int
    id: int
    key_size: int
    value_size: int
    max_entries: int

    @classmethod
    def open_pin(cls, path: str, *, read_only: bool = False) -> Map:
        """The map pinned at `path`; BpfError when it is not there or not for us."""
        return cls.of(os.path.basename(path), open_pin(path, read_only=read_only))

    @classmethod
    def of(cls, name: str, fd: int) -> Map:
        info = ffi.new("uint32_t[4]")
        check(lib.pa_map_info(fd, info), "BPF_OBJ_GET_INFO_BY_FD", name)
        return cls(name, fd, *info)

    def lookup(self, key: bytes, size: int | None = None) -> bytes | None:
        """The value of `key`, None if there is none. `size` where it is not value_size."""
        value = ffi.new("char[]", size or self.value_size)
        if lib.bpf_map_lookup_elem(self.fd, key, value) == 0:
            return bytes(ffi.buffer(value))
        if ffi.errno == errno.ENOENT:
            return None
        raise BpfError("BPF_MAP_LOOKUP_ELEM", self.name, ffi.errno)

    def lookup_per_cpu(self, key: bytes) -> list[bytes]:
        """One value for each possible CPU of a per-CPU map."""
        stride = (self.value_size + 7) & ~7
        raw = self.lookup(key, stride * possible_cpus())
        if raw is None:
            return []
        return [raw[i : i + self.value_size] for i in range(0, len(raw), stride)]

    def update(self, key: bytes, value: bytes) -> None:
        check(lib.bpf_map_update_elem(self.fd, key, value, 0), "BPF_MAP_UPDATE_ELEM", self.name)

    def update_many(self, keys: list[bytes], values: list[bytes], batch: int = 128) -> None:
        """One value for each key. After a BpfError some are there."""
        for start in range(0, len(keys), batch):
            some = keys[start : start + batch]
            count = ffi.new("uint32_t *", len(some))
            check(
                lib.pa_map_update_batch(
                    self.fd, b"".join(some), b"".join(values[start : start + batch]), count
                ),
                "BPF_MAP_UPDATE_BATCH",
                self.name,
            )

    def all_keys(self, batch: int = 4096) -> Iterator[bytes]:
        """All keys, without their values; the map must not change meanwhile."""
        after = ffi.NULL
        while True:
            keys = ffi.new("char[]", batch * self.key_size)
            count = ffi.new("uint32_t *", batch)
            check(
                lib.pa_map_keys(self.fd, after, keys, self.key_size, count),
                "BPF_MAP_GET_NEXT_KEY",
                self.name,
            )
            raw = bytes(ffi.buffer(keys, count[0] * self.key_size))
            for start in range(0, len(raw), self.key_size):
                yield raw[start : start + self.key_size]
            if count[0] < batch:
                return
            after = raw[-self.key_size :]

    def items(self, batch: int = 512) -> Iterator[tuple[bytes, bytes]]:
        """All elements, `batch` at a time; the map must not change meanwhile."""
        for keys, values, count in self._batches(batch):
            for i in range(count):
                yield (
                    keys[i * self.key_size : (i + 1) * self.key_size],
                    values[i * self.value_size : (i + 1) * self.value_size],
                )

    def _batches(self, batch: int) -> Iterator[tuple[bytes, bytes, int]]:
        # A batch ends between buckets; the kernel's cursor is a bucket number (u32).
        cursor = ffi.new("uint32_t[2]")
        first = True
        while True:
            keys = ffi.new("char[]", batch * self.key_size)
            values = ffi.new("char[]", batch * self.value_size)
            count = ffi.new("uint32_t *", batch)
            result = lib.pa_map_lookup_batch(
                self.fd, ffi.NULL if first else cursor, cursor, keys, values, count
            )
            code = ffi.errno if result < 0 else 0
            if code == errno.ENOSPC:  # a bucket holds more than fits: ask again with room
                batch *= 2
                continue
            if code not in (0, errno.ENOENT):
                raise BpfError("BPF_MAP_LOOKUP_BATCH", self.name, code)
            if count[0]:
                yield bytes(ffi.buffer(keys)), bytes(ffi.buffer(values)), count[0]
            if code == errno.ENOENT:
                return
            first = False

    def remove(self, keys: list[bytes], batch: int = 1024) -> None:
        """Deletes the keys; one that is gone already is no error."""
        for start in range(0, len(keys), batch):
            self._remove_batch(keys[start : start + batch])

    def _remove_batch(self, keys: list[bytes]) -> None:
        while keys:
            count = ffi.new("uint32_t *", len(keys))
            if lib.pa_map_delete_batch(self.fd, b"".join(keys), count) == 0:
                return
            if ffi.errno != errno.ENOENT:
                raise BpfError("BPF_MAP_DELETE_BATCH", self.name, ffi.errno)
            keys = keys[count[0] + 1 :]


def possible_cpus() -> int:
    return check(lib.libbpf_num_possible_cpus(), "possible CPUs", "/sys/devices/system/cpu")
