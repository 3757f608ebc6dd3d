# SPDX-License-Identifier: Apache-2.0
"""The collector's state as the status socket shows it, gathered when somebody asks."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from collector.config import CollectorConfig
from collector.feed.feeder import Feeder
from collector.feed.memory import MemoryCounters
from collector.mappings.reader import MappingReader
from collector.pipeline import Pipeline
from collector.read import decode
from collector.read.pins import Pins
from collector.sandbox import Report as SandboxReport
from collector.spool import cursor
from collector.spool.format import number_of
from collector.spool.writer import Spool
from collector.status import assemble
from collector.status.rates import LastMinute, Rates
from collector.status.snapshot import (
    SCHEMA,
    MapFill,
    Processes,
    Sampling,
    Sandbox,
    Snapshot,
    Unwinding,
    Versions,
)
from collector.status.snapshot import Spool as SpoolState
from collector.symbolize.asking import Counters
from collector.symbolize.user import Executables
from libbpf import abi

VERSION = "0.1.0"
FILE_BYTES = 64
"""One element of file_tables, with the kernel's header."""

_FIRST = bytes(4)


@dataclass(slots=True)
class Parts:
    """What a snapshot is made of. loader is the loader's report, parsed."""

    config: CollectorConfig
    loader: dict[str, Any]
    pins: Pins
    pipeline: Pipeline
    reader: MappingReader
    executables: Executables
    feeder: Feeder
    spool: Spool
    sandbox: SandboxReport
    memory: dict[str, int]
    rates: Rates
    started: float
    last_window: float
    minute: LastMinute = field(default_factory=LastMinute)
    fill: dict[str, int] = field(default_factory=dict)
    worker_failing: bool = False


def counters(pins: Pins) -> dict[str, int]:
    """All kernel counters, by field name."""
    return decode.counters(pins.maps["counters"].lookup_per_cpu(_FIRST))


def take(parts: Parts) -> Snapshot:
    """Everything, now."""
    kernel = counters(parts.pins)
    outcomes = {name: kernel[name] for name in decode.COUNTER_NAMES[: abi.OUTCOMES]}
    maps = tuple(_map_fill(parts, name) for name in parts.pins.maps)
    return Snapshot(
        schema=SCHEMA,
        time_ns=time.time_ns(),
        uptime_seconds=time.monotonic() - parts.started,
        node=parts.config.node,
        versions=_versions(parts.loader),
        sampling=_sampling(parts),
        samples=assemble.samples(outcomes, parts.rates.per_second),
        stacks=assemble.stacks(parts.pipeline.last_stacks or _so_far(parts), kernel),
        processes=_processes(parts),
        unwinding=_unwinding(parts, kernel),
        maps=maps,
        map_memory_bytes=sum(item.memory_bytes for item in maps),
        spool=_spool(parts),
        uploads=_uploads(parts),
        sandbox=_sandbox(parts.sandbox),
        elf_worker_failing=parts.worker_failing,
        counters=_counters(parts, kernel),
    )


def _versions(loader: Mapping[str, Any]) -> Versions:
    return Versions(
        agent=VERSION,
        python=platform.python_version(),
        libbpf=abi.libbpf_version(),
        kernel_release=os.uname().release,
        architecture=os.uname().machine,
        abi_sha256=abi.sha256(),
        objects_sha256=dict(loader.get("objects", {})),
    )


def _so_far(parts: Parts) -> int:
    return sum(entries for name, entries in parts.fill.items() if name.startswith("stacks"))


def _sampling(parts: Parts) -> Sampling:
    unwinder, mappings = (parts.loader.get(name, {}) for name in ("unwinder", "mappings"))
    return Sampling(
        mode=str(parts.loader.get("mode", "")),
        frequency_hz=int(parts.loader.get("frequency", 0)),
        window_seconds=parts.config.window_seconds,
        threads=bool(parts.loader.get("threads", False)),
        cpus_online=os.sysconf("SC_NPROCESSORS_ONLN"),
        cpus_sampled=len(parts.loader.get("cpus", ())),
        unwinder=bool(unwinder.get("loaded", False)),
        unwinder_refused=str(unwinder.get("refused", "")),
        mappings=str(mappings.get("object", "")),
        mappings_refused=str(mappings.get("refused", "")),
        generation=parts.pins.generation,
        windows=parts.pipeline.counters.windows,
        seconds_since_window=time.monotonic() - parts.last_window,
    )


def _processes(parts: Parts) -> Processes:
    table = parts.pipeline.processes
    return Processes(
        tracked=len(table),
        mapped=table.mapped,
        last_window=parts.pipeline.last_processes,
        exited_before_mapped=parts.pipeline.counters.exited_before_mapped,
    )


def _map_fill(parts: Parts, name: str) -> MapFill:
    limit = parts.pins.maps[name].max_entries
    loaded = parts.feeder.loaded
    growing = {"unwind_chunks": loaded.memory, "file_tables": loaded.files * FILE_BYTES}
    return MapFill(name, parts.fill.get(name), limit, growing.get(name, parts.memory[name]))


def look_back(parts: Parts, kernel: Mapping[str, int]) -> dict[str, int]:
    """What the counters behind the judgement on unwinding gained in the last minute; to be asked
    every second or so."""
    watched = {name: n for name, n in kernel.items() if name.startswith(assemble.USER_END)}
    watched["no_room"] = parts.feeder.loaded.counters.no_room
    return parts.minute.look(time.monotonic(), watched)


def _unwinding(parts: Parts, kernel: Mapping[str, int]) -> Unwinding:
    feeder, loaded, cache = parts.feeder, parts.feeder.loaded, parts.feeder.cache
    gained = look_back(parts, kernel)
    return Unwinding(
        whole_percent=assemble.whole_percent(gained),
        executables=loaded.tables,
        rows=loaded.rows,
        chunks=loaded.used,
        memory_bytes=loaded.memory,
        max_memory_bytes=loaded.max_memory,
        files=loaded.files,
        waiting=feeder.waiting,
        busy_seconds=feeder.busy_seconds,
        no_room_last_minute=gained["no_room"],
        cache_files=len(cache),
        cache_bytes=cache.size,
        cache_max_bytes=cache.max_bytes,
        refused=dict(feeder.counters.refused),
    )


def map_memory(pins: Pins) -> dict[str, int]:
    """Memory charged for each held map, bytes. Nearly all are allocated whole when they
    are made, so this is asked once, before the door closes on /proc."""
    return {name: _memlock(item.fd) for name, item in pins.maps.items()}


def _memlock(fd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines():
        if line.startswith("memlock:"):
            return int(line.split(":", 1)[1])
    return 0


def _spool(parts: Parts) -> SpoolState:
    spool = parts.spool
    return SpoolState(
        files=spool.windows,
        bytes=spool.size,
        max_bytes=parts.config.spool_max_bytes,
        oldest_age_seconds=spool.oldest_age_seconds,
        writable=parts.pipeline.spool_writable,
        counters=asdict(spool.counters),
    )


def _uploads(parts: Parts) -> tuple[Any, ...]:
    now = time.time_ns()
    newest = number_of(parts.pipeline.newest_window) or 0
    return tuple(
        assemble.upload(one, _pending(parts, newest, one.acknowledged), now)
        for one in cursor.read_all(Path(parts.config.ship_dir)).cursors
        if one.active
    )


def _pending(parts: Parts, newest: int, acknowledged: str) -> int:
    return min(parts.spool.windows, max(0, newest - (number_of(acknowledged) or 0)))


def _sandbox(report: SandboxReport) -> Sandbox:
    fields = asdict(report)
    del fields["role"]
    return Sandbox(**fields)


def _counters(parts: Parts, kernel: Mapping[str, int]) -> dict[str, int]:
    """Counters of the parts, as part.name; of the kernel those that are no outcome or stack end."""
    gathered = {
        f"kernel.{name}": value
        for name, value in kernel.items()
        if name not in decode.COUNTER_NAMES[: abi.OUTCOMES] and not name.startswith("user_")
    }
    gathered |= {f"pipeline.{k}": v for k, v in asdict(parts.pipeline.counters).items()}
    gathered |= {f"mappings.{k}": v for k, v in asdict(parts.reader.counters).items()}
    gathered["mappings.evicted"] = parts.pipeline.processes.evicted
    gathered |= _flat("executables", parts.executables.counters)
    feeder = parts.feeder
    fed = asdict(feeder.counters) | {"not_queued": feeder.not_queued}
    del fed["refused"]  # stands in the section
    gathered |= {f"feed.{k}": v for k, v in fed.items()}
    gathered |= {f"feed.{k}": v for k, v in asdict(feeder.loaded.counters).items()}
    gathered |= {f"feed.cache_{k}": v for k, v in asdict(feeder.cache.counters).items()}
    if feeder.memory is not None:
        gathered |= _flat("feed.memory", feeder.memory.counters)
    gathered["feed.worker_died"] = feeder.asking.worker_died
    gathered["feed.worker_unavailable"] = feeder.asking.worker_unavailable
    gathered["mappings.files"] = len(parts.pipeline.files)
    gathered["mappings.files_evicted"] = parts.pipeline.files.evicted
    gathered["mappings.files_unknown"] = parts.pipeline.files.unknown
    return gathered


def _flat(part: str, counters: Counters | MemoryCounters) -> dict[str, int]:
    """Counters by reason become one each."""
    flat: dict[str, int] = {}
    for one in fields(counters):
        value = getattr(counters, one.name)
        if isinstance(value, int):
            flat[f"{part}.{one.name}"] = value
        else:
            flat |= {f"{part}.{one.name}.{reason}": count for reason, count in value.items()}
    return flat
