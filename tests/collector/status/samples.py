# SPDX-License-Identifier: Apache-2.0
"""A healthy snapshot, and copies of it with something changed."""

from __future__ import annotations

import dataclasses

from collector.status.snapshot import (
    SCHEMA,
    MapFill,
    Processes,
    Samples,
    Sampling,
    Sandbox,
    Snapshot,
    Spool,
    Stacks,
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
        generation=1,
        windows=75,
        seconds_since_window=3.2,
    ),
    samples=Samples(
        total=28_000,
        per_second=38.0,
        dropped=2,
        dropped_per_second=0.0,
        outcomes={"counted": 27_998, "table_full": 2},
        outcomes_per_second={"counted": 38.0, "table_full": 0.0},
    ),
    stacks=Stacks(
        last_window=212,
        user_samples=20_000,
        user_samples_complete=19_260,
        user_complete_percent=96.3,
    ),
    processes=Processes(tracked=143, mapped=43, last_window=12, exited_before_mapped=5),
    maps=(
        MapFill(name="counts_0", entries=212, max_entries=16_384, memory_bytes=4 << 20),
        MapFill(name="ranges", entries=None, max_entries=65_536, memory_bytes=8 << 20),
    ),
    map_memory_bytes=12 << 20,
    spool=Spool(
        files=75,
        bytes=900_000,
        max_bytes=512 << 20,
        oldest_age_seconds=750.0,
        writable=True,
        counters={"written": 75, "evicted": 0},
    ),
    uploads=(
        Upload(
            destination="main",
            acknowledged="0000000000000075",
            acknowledged_age_seconds=3.0,
            windows=75,
            bytes=880_000,
            pending=0,
            last_error="",
        ),
    ),
    sandbox=Sandbox(landlock_abi=2, seccomp=True, notes=()),
    elf_worker_failing=False,
    counters={"symbolize.refused_remote": 1, "status.answered": 4},
)


def changed(part: str, **values: object) -> Snapshot:
    """HEALTHY with fields of one of its parts replaced."""
    inner = dataclasses.replace(getattr(HEALTHY, part), **values)
    return dataclasses.replace(HEALTHY, **{part: inner})
