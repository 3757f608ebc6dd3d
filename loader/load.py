# SPDX-License-Identifier: Apache-2.0
"""Embedded objects into the kernel: bootstrap first, then the rest with what it found."""

from __future__ import annotations

from libbpf import iterators, objects
from libbpf.errors import BpfError
from loader import probe
from loader.config import Config
from loader.errors import Refusal

HEARTBEAT_WINDOWS = 3
HEARTBEAT_SECONDS = 15  # at least: a window may wait on the ELF worker for a third of that
DEEPEST_PID_NAMESPACE = 4  # levels spelled out in bpf/identity.h
FEWEST_STACKS, MOST_STACKS = 2048, 8192
CHUNK_BYTES = 4096  # of slab, for each element of unwind_chunks


class Loaded:
    """What is in the kernel now, held by descriptors: objects by name, maps by name."""

    def __init__(self) -> None:
        self.objects: dict[str, objects.BpfObject] = {}
        self.maps: dict[str, int] = {}
        self.missing: dict[str, str] = {}  # optional object -> why it is not used
        self.constants: dict[str, int] = {}  # that every object but the first is told
        self.pid_level = 0

    @property
    def sampler(self) -> str:
        """The object that samples."""
        return "unwinder" if "unwinder" in self.objects else "sampler"

    def add(self, item: objects.BpfObject) -> None:
        """Loads what nothing can stand in for."""
        try:
            self._load(item)
        except BpfError as error:
            raise probe.explain_load(error) from error

    def try_add(self, item: objects.BpfObject) -> bool:
        """Loads it, or notes what the kernel said against it."""
        try:
            self._load(item)
        except BpfError as error:
            item.close()
            refused = error.verdict and not error.verdict.startswith("libbpf: ")
            self.missing[item.name] = error.verdict if refused else str(error)
        return item.name in self.objects

    def _load(self, item: objects.BpfObject) -> None:
        item.share_maps(self.maps)
        item.load()
        self.objects[item.name] = item
        self.maps |= {name: fd for name, fd in item.map_fds().items() if name not in self.maps}


def map_sizes(config: Config, cpus: int) -> dict[str, int]:
    """max_entries that hold one window of samples, kernel and user stack each, within limits;
    and as many unwind rows as there is memory for."""
    samples = cpus * config.frequency * config.window_seconds
    stacks = FEWEST_STACKS
    while stacks < 2 * samples and stacks < MOST_STACKS:
        stacks *= 2
    sizes = {f"{kind}_{n}": stacks for kind in ("stacks", "samples") for n in (0, 1)}
    memory = (config.unwind_memory_mib << 20) or probe.unwind_memory()
    return sizes | {"unwind_chunks": max(1, memory // CHUNK_BYTES)}


def opened(name: str, constants: dict[str, int]) -> objects.BpfObject:
    item = objects.BpfObject(name)
    for constant, value in constants.items():
        item.set_constant(constant, value)
    return item


def add_sampler(loaded: Loaded, config: Config, constants: dict[str, int]) -> None:
    """The unwinder; where the kernel refuses it, the sampler that knows frame pointers only."""
    limit = max(HEARTBEAT_WINDOWS * config.window_seconds, HEARTBEAT_SECONDS)
    constants = constants | {"tell_threads": config.threads, "heartbeat_limit": limit * 10**9}
    if config.unwinding == "auto" and loaded.try_add(opened("unwinder", constants)):
        return
    loaded.add(opened("sampler", constants))


def load_all(config: Config, cpus: int) -> Loaded:
    """All objects, constants set and set numbers frozen. Nothing is attached yet."""
    loaded = Loaded()
    bootstrap = objects.BpfObject("bootstrap")
    bootstrap.set_max_entries(map_sizes(config, cpus))
    loaded.add(bootstrap)
    iterators.read(bootstrap.program_fd("find_base"), "find_base")
    iterators.read(bootstrap.program_fd("find_namespace"), "find_namespace")
    found = objects.read_first(loaded.maps["host"], "host", 8)
    loaded.pid_level = int.from_bytes(found[:4], "little")
    if loaded.pid_level > DEEPEST_PID_NAMESPACE:
        raise Refusal(f"pid namespace nested {loaded.pid_level} deep; run the agent at most"
                      f" {DEEPEST_PID_NAMESPACE} levels below the host")  # fmt: skip
    constants = loaded.constants = {
        "agent_pid_level": loaded.pid_level,
        "agent_pid_namespace": int.from_bytes(found[4:], "little"),
    }
    add_sampler(loaded, config, constants)
    for name in ("process", "iterators"):
        loaded.add(opened(name, constants))
    loaded.try_add(opened("memory", constants))
    objects.write_first(loaded.maps["set_1"], "set_1", (1).to_bytes(4, "little"))
    for number in ("set_0", "set_1"):
        objects.freeze(loaded.maps[number], number)
    return loaded
