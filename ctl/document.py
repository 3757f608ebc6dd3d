# SPDX-License-Identifier: Apache-2.0
"""What `parca-agent-ctl status --json` prints: the agent's answer, and /proc's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from collector.status.health import worst
from collector.status.snapshot import Health, Report


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The five sets, as in /proc: 16 hexadecimal digits, united over all threads."""

    inheritable: Annotated[str, "CapInh"]
    permitted: Annotated[str, "CapPrm"]
    effective: Annotated[str, "CapEff"]
    bounding: Annotated[str, "CapBnd"]
    ambient: Annotated[str, "CapAmb"]


@dataclass(frozen=True, slots=True)
class AgentProcess:
    """One process of the agent, read from /proc. Where its threads differ, the most privileged
    thread's value stands."""

    role: Annotated[
        str,
        "`collector`, `shipper`, `elf worker`, `elf worker (tables)`, `report`, or its own name",
    ]
    pid: Annotated[int, "its number in the reader's pid namespace"]
    parent_pid: Annotated[int, "the process that started it"]
    user: Annotated[str, "name of the first of `uids`, or its number"]
    uids: Annotated[tuple[int, ...], "every real, effective, saved and file system uid"]
    threads: Annotated[int, "threads"]
    age_seconds: Annotated[float, "time since it started"]
    capabilities: Annotated[Capabilities, "the five capability sets"]
    no_new_privs: Annotated[int, "1 when set for all threads"]
    seccomp: Annotated[int, "2 when all threads run under a filter"]
    cpu_seconds: Annotated[float, "CPU time used"]
    cpu_percent: Annotated[float, "that as a share of one CPU over its age"]
    rss_bytes: Annotated[int, "resident memory"]
    pss_bytes: Annotated[int | None, "its share of resident memory; null if the reader may not see"]


@dataclass(frozen=True, slots=True)
class Document(Report):
    """The whole status; `health` also judges the privilege table."""

    agent_processes: Annotated[tuple[AgentProcess, ...], "the privilege table, from /proc"]


@dataclass(frozen=True, slots=True)
class Failure:
    """What is printed instead when there is no status."""

    schema: Annotated[int, "version of this shape"]
    error: Annotated[str, "`not running`, `not allowed` or `no status`"]
    message: Annotated[str, "one sentence"]


def join(report: Report, rows: tuple[AgentProcess, ...], privileges: Health) -> Document:
    """One document out of what the agent says and what /proc says."""
    fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    fields["health"] = worst(report.health, privileges)
    return Document(**fields, agent_processes=rows)
