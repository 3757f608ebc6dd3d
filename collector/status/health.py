# SPDX-License-Identifier: Apache-2.0
"""The judgement: a pure function from a snapshot to a level and its reasons.

Failed means that no profile is being made. Degraded means that profiles are made and something
is lost, late or at its limit. A property of the host that nobody can change while the agent
runs (a kernel without Landlock, for one) is a note of the sandbox, not a finding.
"""

from __future__ import annotations

from collections.abc import Iterator

from collector.status.snapshot import Health, Snapshot

LATE_WINDOWS = 3.0  # jitter and one slow drain are fewer
LATE_SECONDS = 30.0  # at start the first walk over all processes comes before the first window
LOST_SHARE = 0.01
FULL_SHARE = 0.9
UNACKNOWLEDGED_SECONDS = 300.0
WHOLE_PERCENT = 90.0
SETTLING_SECONDS = 60.0  # after the start, until the tables of what runs are loaded
STUCK_SECONDS = 30.0  # longer than the ELF worker may take, and a file to be opened

OK = "ok"
DEGRADED = "degraded"
FAILED = "failed"


def assess(snapshot: Snapshot) -> Health:
    """Level and reasons; a finding names the number it rests on."""
    failed = tuple(_failures(snapshot))
    degraded = (*_losses(snapshot), *_unwinding(snapshot), *_limits(snapshot), *_uploads(snapshot))
    level = FAILED if failed else DEGRADED if degraded else OK
    return Health(level, failed + degraded)


def worst(*parts: Health) -> Health:
    """One judgement out of several: the worst level and all reasons."""
    order = (OK, DEGRADED, FAILED)
    ranked = sorted(parts, key=lambda part: -order.index(part.level))
    return Health(ranked[0].level, tuple(reason for part in ranked for reason in part.reasons))


def _failures(snapshot: Snapshot) -> Iterator[str]:
    sampling = snapshot.sampling
    late = max(LATE_WINDOWS * sampling.window_seconds, LATE_SECONDS)
    if sampling.seconds_since_window > late:
        yield f"no window drained for {sampling.seconds_since_window:.0f} s"
    if sampling.cpus_sampled == 0:
        yield "no CPU is sampled"
    if not snapshot.spool.writable:
        yield "the spool cannot be written: windows are lost"


def _losses(snapshot: Snapshot) -> Iterator[str]:
    sampling, samples = snapshot.sampling, snapshot.samples
    if sampling.unwinder_refused:
        yield f"frame pointers only, the kernel refused the unwinder: {sampling.unwinder_refused}"
    if not sampling.mappings:
        yield f"short-lived processes have no stacks: {sampling.mappings_refused}"
    if 0 < sampling.cpus_sampled < sampling.cpus_online:
        yield f"{sampling.cpus_sampled} of {sampling.cpus_online} CPUs are sampled"
    lost = samples.dropped_per_second
    if lost > LOST_SHARE * samples.per_second:
        yield f"{lost:.1f} of {samples.per_second:.1f} samples a second are lost"
    if snapshot.elf_worker_failing:
        yield "the ELF worker fails: user frames have no names"


def _unwinding(snapshot: Snapshot) -> Iterator[str]:
    unwinding = snapshot.unwinding
    whole = unwinding.whole_percent if snapshot.sampling.unwinder else None
    if whole is not None and whole < WHOLE_PERCENT and snapshot.uptime_seconds > SETTLING_SECONDS:
        yield f"{100 - whole:.1f} % of the user stacks of the last minute are cut short"
    if unwinding.no_room_last_minute:
        yield (
            f"no room for {unwinding.no_room_last_minute} unwind tables in the last minute:"
            f" {unwinding.max_memory_bytes >> 20} MiB are in use"
        )
    if unwinding.busy_seconds > STUCK_SECONDS:
        yield f"an executable has kept unwind tables waiting for {unwinding.busy_seconds:.0f} s"


def _limits(snapshot: Snapshot) -> Iterator[str]:
    for item in snapshot.maps:
        if item.entries is not None and item.entries > FULL_SHARE * item.max_entries:
            yield f"map {item.name} holds {item.entries} of {item.max_entries} elements"


def _uploads(snapshot: Snapshot) -> Iterator[str]:
    """A destination without windows to send owes nothing; one whose server is away does."""
    for upload in snapshot.uploads:
        age = upload.acknowledged_age_seconds
        silent = snapshot.uptime_seconds if age is None else age
        if upload.pending > 1 and silent > UNACKNOWLEDGED_SECONDS:
            yield f"{upload.destination}: {upload.pending} windows wait, silent for {silent:.0f} s"
