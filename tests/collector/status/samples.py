# SPDX-License-Identifier: Apache-2.0
"""A healthy snapshot, and copies of it with something changed."""

from __future__ import annotations

import dataclasses

from collector.status.assemble import samples, stacks
from collector.status.snapshot import (
    SCHEMA,
    MapFill,
    Processes,
    Sampling,
    Sandbox,
    Snapshot,
    Spool,
    Unwinding,
    Upload,
    Versions,
)

HEALTHY = Snapshot(
    schema=SCHEMA,
    time_ns=1_700_000_000_000_000_000,
    uptime_seconds=754.5,
    node="host-1",
    versions=Versions(
        agent="0.1.0",
        python="3.11.2",
        libbpf="1.5.0",
        kernel_release="6.1.0-13-amd64",
        architecture="x86_64",
        abi_sha256="ab" * 32,
        objects_sha256={"sampler": "cd" * 32},
    ),
    sampling=Sampling(
        mode="perf",
        frequency_hz=19,
        window_seconds=10.0,
        threads=False,
        cpus_online=2,
        cpus_sampled=2,
        unwinder=True,
        unwinder_refused="",
        mappings="mappings",
        mappings_refused="",
        generation=1,
        windows=75,
        seconds_since_window=3.2,
    ),
    samples=samples(
        {"recorded": 27_998, "skipped_idle": 110_000, "lost_samples_full": 2},
        {"recorded": 38.0, "skipped_idle": 152.0, "lost_samples_full": 0.0},
    ),
    stacks=stacks(212, {"recorded": 27_998, "user_complete": 963, "user_unreadable": 37}),
    processes=Processes(tracked=143, mapped=43, last_window=12, exited_before_mapped=5),
    unwinding=Unwinding(
        whole_percent=98.5,
        executables=41,
        rows=1_200_000,
        chunks=1_900,
        memory_bytes=1_900 << 12,
        max_memory_bytes=64 << 20,
        files=60,
        waiting=0,
        busy_seconds=0.0,
        no_room_last_minute=0,
        cache_files=44,
        cache_bytes=3 << 20,
        cache_max_bytes=256 << 20,
        refused={"not_elf": 3, "remote": 1},
    ),
    maps=(
        MapFill(name="samples_0", entries=212, max_entries=16_384, memory_bytes=4 << 20),
        MapFill(name="executable_ranges", entries=None, max_entries=8_192, memory_bytes=8 << 20),
    ),
    map_memory_bytes=12 << 20,
    spool=Spool(
        files=75,
        bytes=900_000,
        max_bytes=512 << 20,
        oldest_age_seconds=750.0,
        writable=True,
        counters={"written": 75, "evicted_unacknowledged": 0},
    ),
    uploads=(
        Upload(
            destination="main",
            acknowledged="000000000000004b.window",
            acknowledged_age_seconds=3.0,
            windows=75,
            bytes=880_000,
            pending=0,
            last_error="",
            counters={"attempts": 0, "parked": 0, "corrupt": 0, "vanished": 0},
        ),
    ),
    sandbox=Sandbox(
        uid=990,
        capabilities=0,
        no_new_privs=True,
        seccomp=2,
        system_calls=60,
        landlock_abi=2,
        landlock=("files",),
    ),
    elf_worker_failing=False,
    counters={"symbolize.refused_remote": 1, "status.answered": 4},
)


def changed(part: str, **values: object) -> Snapshot:
    """HEALTHY with fields of one of its parts replaced."""
    inner = dataclasses.replace(getattr(HEALTHY, part), **values)
    return dataclasses.replace(HEALTHY, **{part: inner})
