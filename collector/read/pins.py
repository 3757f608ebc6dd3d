# SPDX-License-Identifier: Apache-2.0
"""The pins of one generation, opened before the door closes and held from then on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from libbpf.maps import Map
from libbpf.pins import open_pin

READ_ONLY_MAPS = ("counters", "set_0", "set_1")
READ_WRITE_MAPS = (
    "active_set",
    "control",
    "ended_ranges",
    "events",
    "executables",
    "file_tables",
    "memory_request",
    "samples_0",
    "samples_1",
    "stacks_0",
    "stacks_1",
    "unwind_chunks",
)
ITERATORS = ("task_vma", "task", "ksym")
READ_MEMORY = "read_memory"
"""The iterator that the loader leaves out where the kernel does not let it be safe."""


class NoGenerationError(Exception):
    """Nothing is pinned: the loader has not run, or its pins were removed."""


@dataclass(frozen=True, slots=True)
class Pins:
    """Maps and iterator programs by name; `directory` stays open to see later generations.

    generation is the number it was published under, which starts at 1 again with each bpffs;
    identity is never used again.
    """

    generation: int
    identity: int
    maps: dict[str, Map]
    iterators: dict[str, int]
    directory: int

    def newest_generation(self) -> int:
        """Number of the newest published generation; 0 when all pins are gone."""
        return _newest(os.listdir(self.directory))  # noqa: PTH208 - a held descriptor


def open_newest(path: str) -> Pins:
    """Pins of the newest generation below `path`."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NoGenerationError(f"{path}: {error.strerror}") from error
    number = _newest(os.listdir(directory))  # noqa: PTH208 - a held descriptor
    if not number:
        raise NoGenerationError(f"{path} holds no generation: the loader has not run")
    base = f"{path}/gen-{number}"
    maps = {name: Map.open_pin(f"{base}/{name}", read_only=True) for name in READ_ONLY_MAPS}
    maps |= {name: Map.open_pin(f"{base}/{name}") for name in READ_WRITE_MAPS}
    names = (*ITERATORS, *(name for name in (READ_MEMORY,) if Path(base, name).exists()))
    iterators = {name: open_pin(f"{base}/{name}", read_only=True) for name in names}
    return Pins(number, _identity(maps["control"].id), maps, iterators, directory)


def _identity(map_id: int) -> int:
    """64 bits: 32 random ones of this boot, and the id of one of its maps.

    The kernel counts map ids up and begins anew only after 2^31 of them.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return int(boot[:8], 16) << 32 | map_id


def _newest(names: list[str]) -> int:
    numbers = (name.removeprefix("gen-") for name in names if name.startswith("gen-"))
    return max((int(number) for number in numbers if number.isdigit()), default=0)
