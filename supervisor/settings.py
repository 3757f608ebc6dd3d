# SPDX-License-Identifier: Apache-2.0
"""What the operator may choose, and the three files that follow from it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import yaml

from collector import schema
from collector.config import (
    GIB,
    NODE,
    CollectorConfig,
    Destination,
    ShipConfig,
    check_destinations,
)
from collector.schema import limits, matching
from supervisor.layout import Layout

FREE_SHARE = 20
"""Of a small file system, one part in this many is left free instead of a GiB."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """sampling: frequency in Hz per CPU, windows in seconds; unwind_memory_mib bounds the unwind
    tables in the kernel, 0 means by the machine's memory."""

    frequency: int = limits(19, 1, 100_000)
    mode: str = matching("auto", "auto|perf", "auto or perf")
    window_seconds: int = limits(10, 1, 600)
    threads: bool = False
    unwinding: str = matching("auto", "auto|frame_pointers", "auto or frame_pointers")
    unwind_memory_mib: int = limits(0, 0, 1024)


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """spool: what the local store may take; min_free_bytes 0 means by the file system's size."""

    max_bytes: int = limits(512 << 20, 1 << 20, 1 << 44)
    max_age_seconds: int = limits(7 * 86_400, 60, 10 * 366 * 86_400)
    min_free_bytes: int = limits(0, 0, 1 << 44)


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """cache: what unwind tables may take on disk."""

    max_bytes: int = limits(256 << 20, 1 << 20, 1 << 40)


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's file, given as CONFIG=…; an empty one means the defaults."""

    node: str = matching(os.uname().nodename, NODE, "a printable text of 1 to 253 characters")
    sampling: Sampling = field(default_factory=Sampling)
    spool: SpoolLimits = field(default_factory=SpoolLimits)
    cache: CacheLimits = field(default_factory=CacheLimits)
    destinations: tuple[Destination, ...] = ()
    ignore_unsafe_kernel: bool = False


def load(path: Path | None, frequency: int | None) -> Settings:
    """The settings of a file (None: the defaults), with `frequency` in place of its own.

    ConfigError when the file is refused.
    """
    settings = Settings()
    if path is not None:
        settings = schema.read(path, Settings)
        check_destinations(settings.destinations, str(path))
    if frequency is not None:
        sampling = replace(settings.sampling, frequency=frequency)
        settings = replace(settings, sampling=sampling)
    return settings


def loader_conf(settings: Settings, layout: Layout, pins_gid: int) -> str:
    """The loader's file: `key = value`, numbers, enums and two fixed paths."""
    values = {
        "frequency": settings.sampling.frequency,
        "mode": settings.sampling.mode,
        "window_seconds": settings.sampling.window_seconds,
        "threads": int(settings.sampling.threads),
        "unwinding": settings.sampling.unwinding,
        "unwind_memory_mib": settings.sampling.unwind_memory_mib,
        "pins_directory": layout.pins,
        "pins_group": pins_gid,
        "report": layout.loader_report,
        "ignore_unsafe_kernel": int(settings.ignore_unsafe_kernel),
    }
    return "".join(f"{key} = {value}\n" for key, value in values.items())


def collector_yaml(settings: Settings, layout: Layout) -> str:
    """The collector's file; the spool's directory must exist."""
    config = CollectorConfig(
        node=settings.node,
        frequency=settings.sampling.frequency,
        window_seconds=settings.sampling.window_seconds,
        threads=settings.sampling.threads,
        pins_directory=str(layout.pins),
        loader_report=str(layout.loader_report),
        elf_socket=str(layout.elf_socket),
        tables_socket=str(layout.tables_socket),
        spool_dir=str(layout.spool),
        spool_max_bytes=settings.spool.max_bytes,
        spool_max_age_seconds=settings.spool.max_age_seconds,
        spool_min_free_bytes=settings.spool.min_free_bytes or free_bytes(layout.spool),
        ship_dir=str(layout.ship),
        cache_dir=str(layout.cache),
        cache_max_bytes=settings.cache.max_bytes,
    )
    return yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)


def ship_yaml(settings: Settings, layout: Layout) -> str:
    """The shipper's file."""
    config = ShipConfig(settings.destinations, str(layout.spool), str(layout.ship))
    document = asdict(config)
    document["destinations"] = list(document["destinations"])
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def free_bytes(directory: Path) -> int:
    """What to leave free there: 1 GiB, or a twentieth of a file system smaller than 20 GiB."""
    file_system = os.statvfs(directory)
    return min(GIB, file_system.f_blocks * file_system.f_frsize // FREE_SHARE)
