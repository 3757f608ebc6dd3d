# SPDX-License-Identifier: Apache-2.0
"""The shape of the status: what operators read, in one place.

docs/status.schema.json and the table of docs/status.md are generated from these classes; the
sentence beside each field is the field's documentation. Outcomes, losses and the counters of
each part are mappings, because their names are the counters' own field names: no second list.
Counts are since this collector started unless the sentence says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Health:
    """The judgement over everything else."""

    level: Annotated[str, "`ok`, `degraded` or `failed`"]
    reasons: Annotated[tuple[str, ...], "one sentence per finding, the worst first; empty if ok"]


@dataclass(frozen=True, slots=True)
class Versions:
    """What is running."""

    agent: Annotated[str, "version of the agent"]
    python: Annotated[str, "version of the interpreter that runs the collector"]
    libbpf: Annotated[str, "version of the libbpf linked into the binding"]
    kernel_release: Annotated[str, "`uname -r`"]
    architecture: Annotated[str, "`uname -m`"]
    abi_sha256: Annotated[str, "hash of the header shared by kernel programs and collector"]
    objects_sha256: Annotated[dict[str, str], "BPF object to the hash of its bytes"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the kernel samples."""

    mode: Annotated[str, "`perf` (one perf event per CPU) or `tick`"]
    frequency_hz: Annotated[int, "samples per second and busy CPU"]
    window_seconds: Annotated[float, "configured length of a window"]
    threads: Annotated[bool, "whether threads are told apart"]
    cpus_online: Annotated[int, "CPUs that are online"]
    cpus_sampled: Annotated[int, "CPUs with an attached sampling program"]
    unwinder: Annotated[bool, "whether stacks are walked by unwind tables, or only frame pointers"]
    unwinder_refused: Annotated[str, "why the kernel refused the unwinder; empty if it did not"]
    mappings: Annotated[str, "what records mappings: `mappings`, `faults`, or empty: walks alone"]
    mappings_refused: Annotated[str, "why nothing better records them; empty if it is `mappings`"]
    generation: Annotated[int, "number of the published set of pins"]
    windows: Annotated[int, "windows drained"]
    seconds_since_window: Annotated[float, "age of the newest drained window"]


@dataclass(frozen=True, slots=True)
class Samples:
    """Where the samples went. Every sample has exactly one outcome, and each outcome's name is
    that of its field in `struct counters` of bpf/abi.h: recorded, skipped_…, lost_…"""

    total: Annotated[int, "recorded and lost, since the loader loaded this generation"]
    per_second: Annotated[float, "the same per second, over the newest window"]
    dropped: Annotated[int, "lost, since the generation was loaded"]
    dropped_per_second: Annotated[float, "the same per second, over the newest window"]
    outcomes: Annotated[dict[str, int], "outcome to samples, since the generation was loaded"]
    outcomes_per_second: Annotated[dict[str, float], "the same per second, over the newest window"]


@dataclass(frozen=True, slots=True)
class Stacks:
    """Different stacks, and how many user stacks reach their bottom."""

    last_window: Annotated[int, "different stacks in the newest full window; before it, so far"]
    user_ends: Annotated[dict[str, int], "how user stacks ended, to samples: the `user_` counters"]
    user_complete_percent: Annotated[float, "share of those that reached the bottom; 0 of none"]


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes that are profiled."""

    tracked: Annotated[int, "processes known now"]
    mapped: Annotated[int, "those of them whose mappings have been read"]
    last_window: Annotated[int, "processes with a sample in the newest window"]
    exited_before_mapped: Annotated[int, "processes gone before their mappings could be read"]


@dataclass(frozen=True, slots=True)
class Unwinding:
    """The unwind tables: what is loaded in the kernel, what waits, what is kept on disk."""

    whole_percent: Annotated[
        float | None, "user stacks of the last minute that reached their bottom; null of under 100"
    ]
    executables: Annotated[int, "executables whose tables are loaded"]
    rows: Annotated[int, "their rows"]
    chunks: Annotated[int, "chunks of 4 KiB that these take"]
    memory_bytes: Annotated[int, "the chunks' size"]
    max_memory_bytes: Annotated[int, "what they may take before the longest unused are evicted"]
    files: Annotated[int, "files known to the kernel, with a table or without"]
    waiting: Annotated[int, "files whose tables are still to be loaded"]
    busy_seconds: Annotated[float, "how long the present one has been taking; 0 between two"]
    no_room_last_minute: Annotated[int, "tables not loaded because all others were in use"]
    cache_files: Annotated[int, "tables on disk"]
    cache_bytes: Annotated[int, "their size"]
    cache_max_bytes: Annotated[int, "its limit"]
    refused: Annotated[dict[str, int], "reason to files that got no table for it"]


@dataclass(frozen=True, slots=True)
class MapFill:
    """One BPF map."""

    name: Annotated[str, "its pin's name"]
    entries: Annotated[int | None, "elements in use; null where that is not counted, or no loss"]
    max_entries: Annotated[int, "elements it can hold"]
    memory_bytes: Annotated[int, "memory charged for it; of those that grow, what is in use"]


@dataclass(frozen=True, slots=True)
class Spool:
    """The local store."""

    files: Annotated[int, "windows in it"]
    bytes: Annotated[int, "their size"]
    max_bytes: Annotated[int, "quota"]
    oldest_age_seconds: Annotated[float, "age of the oldest window; 0 when empty"]
    writable: Annotated[bool, "whether the newest attempt to write succeeded"]
    counters: Annotated[dict[str, int], "what became of every window, by the spool's own names"]


@dataclass(frozen=True, slots=True)
class Upload:
    """One destination of the shipper, as its cursor file says."""

    destination: Annotated[str, "its configured name"]
    acknowledged: Annotated[str, "newest acknowledged window; empty before the first"]
    acknowledged_age_seconds: Annotated[float | None, "time since then; null before the first"]
    windows: Annotated[int, "windows acknowledged"]
    bytes: Annotated[int, "their size as sent"]
    pending: Annotated[int, "windows in the spool that are newer than the acknowledged one"]
    last_error: Annotated[str, "newest failure, if nothing was acknowledged since"]
    counters: Annotated[dict[str, int], "attempts, parked, …, by the cursor's own names"]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What the collector has given up, as its own sandbox reads it back from the kernel. The
    privilege table of parca-agent-ctl asks /proc instead of taking this word."""

    uid: Annotated[int, "effective uid"]
    capabilities: Annotated[int, "capabilities left: 0"]
    no_new_privs: Annotated[bool, "whether no execve can gain a privilege"]
    seccomp: Annotated[int, "2: system calls are filtered"]
    system_calls: Annotated[int, "system calls the filter lets through"]
    landlock_abi: Annotated[int, "Landlock ABI of the kernel; 0 where it has none"]
    landlock: Annotated[tuple[str, ...], "kinds of access Landlock restricts here"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the collector knows about itself at one moment."""

    schema: Annotated[int, "version of this shape"]
    time_ns: Annotated[int, "Unix time of this answer, ns"]
    uptime_seconds: Annotated[float, "time since this collector started"]
    node: Annotated[str, "the name of this machine in the labels"]
    versions: Annotated[Versions, "what is running"]
    sampling: Annotated[Sampling, "how the kernel samples"]
    samples: Annotated[Samples, "where the samples went"]
    stacks: Annotated[Stacks, "different stacks, and how whole they are"]
    processes: Annotated[Processes, "the processes that are profiled"]
    unwinding: Annotated[Unwinding, "the unwind tables"]
    maps: Annotated[tuple[MapFill, ...], "the BPF maps"]
    map_memory_bytes: Annotated[int, "memory of all maps"]
    spool: Annotated[Spool, "the local store"]
    uploads: Annotated[tuple[Upload, ...], "one entry per destination; empty without a server"]
    sandbox: Annotated[Sandbox, "what the collector has given up"]
    elf_worker_failing: Annotated[bool, "whether the newest request to the ELF worker failed"]
    counters: Annotated[dict[str, int], "counters of the other parts, as part.name"]


@dataclass(frozen=True, slots=True)
class Report(Snapshot):
    """What the socket answers: the snapshot and the judgement over it."""

    health: Annotated[Health, "the judgement"]
