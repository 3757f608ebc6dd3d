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
OPTIONAL = ("memory",)  # what sampling goes on without
DEEPEST_PID_NAMESPACE = 4  # levels spelled out in bpf/identity.h
FEWEST_STACKS, MOST_STACKS = 2048, 8192


class Loaded:
    """What is in the kernel now, held by descriptors: objects by name, maps by name."""

    def __init__(self) -> None:
        self.objects: dict[str, objects.BpfObject] = {}
        self.maps: dict[str, int] = {}
        self.missing: dict[str, str] = {}  # optional object -> why it is not used
        self.pid_level = 0

    def add(self, item: objects.BpfObject) -> None:
        item.share_maps(self.maps)
        try:
            item.load()
        except BpfError as error:
            raise probe.explain_load(error) from error
        self.objects[item.name] = item
        self.maps |= {name: fd for name, fd in item.map_fds().items() if name not in self.maps}


def map_sizes(config: Config, cpus: int) -> dict[str, int]:
    """max_entries that hold one window of samples, kernel and user stack each, within limits."""
    samples = cpus * config.frequency * config.window_seconds
    stacks = FEWEST_STACKS
    while stacks < 2 * samples and stacks < MOST_STACKS:
        stacks *= 2
    return {f"{kind}_{n}": stacks for kind in ("stacks", "samples") for n in (0, 1)}


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
    for name in ("sampler", "process", "iterators", "memory"):
        item = objects.BpfObject(name)
        item.set_max_entries(map_sizes(config, cpus))
        item.set_constant("agent_pid_level", loaded.pid_level)
        item.set_constant("agent_pid_namespace", int.from_bytes(found[4:], "little"))
        if name == "sampler":
            item.set_constant("tell_threads", config.threads)
            limit = max(HEARTBEAT_WINDOWS * config.window_seconds, HEARTBEAT_SECONDS)
            item.set_constant("heartbeat_limit", limit * 10**9)
        try:
            loaded.add(item)
        except Refusal as refusal:
            if name not in OPTIONAL:
                raise
            loaded.missing[name] = str(refusal)
    objects.write_first(loaded.maps["set_1"], "set_1", (1).to_bytes(4, "little"))
    for number in ("set_0", "set_1"):
        objects.freeze(loaded.maps[number], number)
    return loaded
