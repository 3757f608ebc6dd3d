# SPDX-License-Identifier: Apache-2.0
"""Where everything lies and who everybody is; the same names as on an installed host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

COLLECTOR = "parca-agent"
SHIPPER = "parca-agent-ship"
ELF_WORKER = "parca-agent-elf"
USERS = (COLLECTOR, SHIPPER, ELF_WORKER)

PINS = "parca-agent-pins"
SPOOL = "parca-agent-spool"
STATUS = "parca-agent-status"
GROUPS = (PINS, SPOOL, STATUS)


@dataclass(frozen=True, slots=True)
class Layout:
    """The three directories of a running agent; tests put them elsewhere."""

    run: Path = Path("/run/parca-agent")
    state: Path = Path("/var/lib/parca-agent")
    ship: Path = Path("/var/lib/parca-agent-ship")

    @property
    def pins(self) -> Path:
        return self.run / "bpf"

    @property
    def lib(self) -> Path:
        return self.run / "lib"

    @property
    def loader_conf(self) -> Path:
        return self.run / "loader.conf"

    @property
    def loader_report(self) -> Path:
        return self.run / "loader.json"

    @property
    def collector_yaml(self) -> Path:
        return self.run / "collector.yaml"

    @property
    def ship_yaml(self) -> Path:
        return self.run / "ship.yaml"

    @property
    def status_socket(self) -> Path:
        return self.run / "status.sock"

    @property
    def elf_socket(self) -> Path:
        return self.run / "elf.sock"

    @property
    def tables_socket(self) -> Path:
        return self.run / "tables.sock"

    @property
    def spool(self) -> Path:
        return self.state / "spool"

    @property
    def cache(self) -> Path:
        return self.state / "cache"
