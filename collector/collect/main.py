# SPDX-License-Identifier: Apache-2.0
"""The role `collect`: open everything, close the door, then windows until SIGTERM.

Exit status: 0 asked to stop, or a newer generation of pins is there (to be restarted for it);
1 could not start; 2 wrong arguments or configuration.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from collector import heap
from collector.collect import snapshot
from collector.collect.loop import Loop
from collector.config import CollectorConfig, ConfigError, load
from collector.feed import reader as table_reader
from collector.feed import vdso
from collector.feed.cache import Cache
from collector.feed.feeder import Feeder
from collector.feed.loaded import Loaded
from collector.feed.memory import ProcessMemory
from collector.label.labels import Host
from collector.mappings.reader import MappingReader
from collector.pipeline import Pipeline
from collector.read import decode, pins
from collector.read.aggregation import Aggregation
from collector.sandbox import SandboxError, close, roles
from collector.spool.errors import SpoolError
from collector.spool.writer import Spool
from collector.status import document
from collector.status.rates import Rates
from collector.status.server import StatusServer
from collector.symbolize.client import TABLE_DEADLINE, ElfClient
from collector.symbolize.kernel import KernelSymbols
from collector.symbolize.resolve import KernelFrames
from collector.symbolize.user import Executables
from libbpf import abi, iterators
from libbpf.errors import BpfError
from libbpf.ringbuf import RingBuffer

FIRST_DESCRIPTOR = 3
NANOSECONDS = 10**9
MOST_OF_FIRST_WALK = 64 << 20
"""Bytes; 400,000 mappings. What is beyond is met when it is sampled."""


class StartError(Exception):
    """The collector cannot start: one sentence."""


def main(argv: list[str]) -> int:
    heap.settle()
    try:
        if len(argv) != 2 or argv[0] != "--config":
            raise ConfigError("usage", ["collect --config FILE"])
        return _run(load(argv[1], CollectorConfig))
    except ConfigError as error:
        print(f"collect: {error}", file=sys.stderr)
        return 2
    except (
        StartError,
        pins.NoGenerationError,
        SandboxError,
        SpoolError,
        BpfError,
        OSError,
    ) as error:
        print(f"collect: {error}", file=sys.stderr)
        return 1


def _run(config: CollectorConfig) -> int:
    started = time.monotonic()
    loader = _loader_report(config.loader_report)
    held = pins.open_newest(config.pins_directory)
    memory = snapshot.map_memory(held)
    snapshot.counters(held)  # libbpf asks /sys for the number of CPUs once: now
    ring = RingBuffer(held.maps["events"].fd, decode.EVENT_SIZE)
    listener = _status_listener()
    spool = Spool(
        Path(config.spool_dir),
        max_bytes=config.spool_max_bytes,
        max_age_seconds=config.spool_max_age_seconds,
        min_free_bytes=config.spool_min_free_bytes,
        ship_dir=Path(config.ship_dir),
    )
    host = Host(config.node, os.uname().release, os.uname().machine)
    cache = _cache(config)
    vdso_copy = vdso.copy()
    more = (config.ship_dir, config.elf_socket, config.tables_socket)
    readable = [path for path in more if Path(path).exists()]
    sandbox = close(
        roles.collect(
            config.spool_dir, *readable, cache_dir=config.cache_dir if cache.usable else ""
        )
    )

    reader = MappingReader(held.iterators["task_vma"], held.iterators["task"])
    reader.start()
    # fills the kernel's table of executable ranges; processes are asked again when needed
    walk = iterators.drain(held.iterators["task_vma"], "task_vma", MOST_OF_FIRST_WALK)
    kernel = KernelFrames(KernelSymbols.parse(iterators.read(held.iterators["ksym"], "ksym")))
    executables = Executables(ElfClient(config.elf_socket))
    feeder = Feeder(
        ElfClient(config.tables_socket, TABLE_DEADLINE),
        Loaded(held.maps["executables"], held.maps["file_tables"], held.maps["unwind_chunks"]),
        cache,
        vdso=vdso_copy,
        memory=_process_memory(held),
    )
    unwinding = bool(loader.get("unwinder", {}).get("loaded", False))
    if unwinding:
        feeder.start(walk)
    pipeline = Pipeline(
        reader=reader,
        task_program=held.iterators["task"],
        kernel=kernel,
        executables=executables,
        feeder=feeder if unwinding else None,
        spool=spool,
        ended=held.maps["ended_ranges"],
        file_tables=held.maps["file_tables"],
        host=host,
        period_ns=NANOSECONDS // int(loader.get("frequency", config.frequency)),
        threads=bool(loader.get("threads", False)),
        first_walk=walk,
    )
    parts = snapshot.Parts(
        config=config, loader=loader, pins=held, pipeline=pipeline, reader=reader,
        executables=executables, feeder=feeder, spool=spool, sandbox=sandbox, memory=memory,
        rates=Rates(), started=started, last_window=started,
    )  # fmt: skip
    server = StatusServer(
        listener, _group_of(listener), lambda: document.answer(snapshot.take(parts))
    )
    return Loop(parts, Aggregation(held.identity, held.maps), ring, server).run()


def _cache(config: CollectorConfig) -> Cache:
    """Tables on disk; without its directory there are none."""
    return Cache(
        Path(config.cache_dir),
        max_bytes=config.cache_max_bytes,
        min_free_bytes=config.spool_min_free_bytes,
        reader=table_reader.version(),
    )


def _process_memory(held: pins.Pins) -> ProcessMemory | None:
    """None where the kernel does not let the program be safe that would read it."""
    program = held.iterators.get(pins.READ_MEMORY)
    return ProcessMemory(program, held.maps["memory_request"].fd) if program is not None else None


def _loader_report(path: str) -> dict[str, Any]:
    """The loader's report, whose ABI must be the one this collector was built for."""
    try:
        report = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise StartError(f"{path}: {error}; start the loader first") from error
    if not isinstance(report, dict) or report.get("abi") != abi.sha256():
        raise StartError(
            f"{path}: the loaded programs speak another ABI than this collector; run the loader of"
            " the same version"
        )
    return report


def _status_listener() -> socket.socket:
    """The inherited socket named "status" (sd_listen_fds(3))."""
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or "status" not in names:
        raise StartError("no listening socket named status was passed (LISTEN_FDNAMES)")
    fd = FIRST_DESCRIPTOR + names.index("status")
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


def _group_of(listener: socket.socket) -> int:
    """The group that may ask: the one the socket's file was given to."""
    try:
        return Path(listener.getsockname()).stat().st_gid
    except OSError:
        return 0
