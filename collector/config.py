# SPDX-License-Identifier: Apache-2.0
"""The files of the collector and the shipper: collector.yaml and ship.yaml.

Both are written by the supervisor or by the package, owned by root, and hold no secret: a
credential is named by the path of the file that holds it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from collector import schema
from collector.schema import ConfigError, limits, matching

__all__ = ["CollectorConfig", "ConfigError", "Destination", "ShipConfig", "load"]

T = TypeVar("T")

GIB = 1 << 30
NODE = r"[^\0-\x1f\x7f]{1,253}"
PATH = {"pattern": r"/[^\0\n]{0,4000}", "allowed": "an absolute path"}


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """collector.yaml. Sizes are bytes, ages and windows seconds, the frequency Hz per CPU.

    spool_min_free_bytes is what the file system must keep free for everybody else. Behind
    elf_socket and tables_socket is an ELF worker each: a table that takes long delays no name.
    cache_dir holds unwind tables, which leave the same space free as the spool.
    """

    node: str = matching(os.uname().nodename, NODE, "a printable text of 1 to 253 characters")
    frequency: int = limits(19, 1, 100_000)
    window_seconds: float = limits(10.0, 1, 600)
    threads: bool = False
    pins_directory: str = matching("/run/parca-agent/bpf", **PATH)
    loader_report: str = matching("/run/parca-agent/loader.json", **PATH)
    elf_socket: str = matching("/run/parca-agent/elf.sock", **PATH)
    tables_socket: str = matching("/run/parca-agent/tables.sock", **PATH)
    spool_dir: str = matching("/var/lib/parca-agent/spool", **PATH)
    spool_max_bytes: int = limits(512 << 20, 1 << 20, 1 << 44)
    spool_max_age_seconds: int = limits(7 * 86_400, 60, 10 * 366 * 86_400)
    spool_min_free_bytes: int = limits(GIB, 0, 1 << 44)
    ship_dir: str = matching("/var/lib/parca-agent-ship", **PATH)
    cache_dir: str = matching("/var/lib/parca-agent/cache", **PATH)
    cache_max_bytes: int = limits(256 << 20, 1 << 20, 1 << 40)


@dataclass(frozen=True, slots=True)
class Destination:
    """One server. `name` also names its cursor file, so it never changes and is plain.

    insecure means plaintext instead of TLS; ca_file and bearer_token_file are paths, empty for
    the system's certificates and for no token.
    """

    name: str = matching(None, r"[a-z0-9][a-z0-9-]{0,62}", "lower-case letters, digits and -")
    address: str = matching(
        None,
        r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}",
        "host:port or [IPv6]:port",
    )
    insecure: bool = False
    ca_file: str = matching("", r"|/[^\0\n]{0,4000}", "an absolute path")
    bearer_token_file: str = matching("", r"|/[^\0\n]{0,4000}", "an absolute path")


@dataclass(frozen=True, slots=True)
class ShipConfig:
    """ship.yaml. Without a destination the shipper has nothing to do and stays small."""

    destinations: tuple[Destination, ...] = ()
    spool_dir: str = matching("/var/lib/parca-agent/spool", **PATH)
    state_dir: str = matching("/var/lib/parca-agent-ship", **PATH)


def load(path: str | Path, kind: type[T]) -> T:
    """The file at path as a `kind`: `load("/run/…/ship.yaml", ShipConfig)`.

    ConfigError, with one line per reason, when it cannot be read or holds anything else.
    """
    config = schema.read(Path(path), kind)
    if isinstance(config, ShipConfig):
        check_destinations(config.destinations, str(path))
    return config


def check_destinations(destinations: tuple[Destination, ...], file: str) -> None:
    """ConfigError when two share a name, and so a cursor, or one contradicts itself."""
    reasons = []
    names = [one.name for one in destinations]
    for name in sorted({name for name in names if names.count(name) > 1}):
        reasons.append(f"destinations: the name {name!r} is given twice")
    for one in destinations:
        if int(one.address.rpartition(":")[2]) not in range(1, 65_536):
            reasons.append(f"destinations: {one.name}: a port is a number from 1 to 65535")
        if one.insecure and one.ca_file:
            reasons.append(f"destinations: {one.name}: ca_file has no use with insecure: true")
    if reasons:
        raise ConfigError(file, reasons)
