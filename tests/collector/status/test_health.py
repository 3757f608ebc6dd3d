# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest

from collector.status.health import assess, worst
from collector.status.snapshot import Health, MapFill
from tests.collector.status.samples import HEALTHY, changed

UPLOAD = HEALTHY.uploads[0]


def uploading(**values):
    return dataclasses.replace(HEALTHY, uploads=(dataclasses.replace(UPLOAD, **values),))


def filled(entries):
    item = MapFill(name="samples_0", entries=entries, max_entries=100, memory_bytes=1)
    return dataclasses.replace(HEALTHY, maps=(item,))


def test_a_healthy_agent_has_no_reasons():
    assert assess(HEALTHY) == Health("ok", ())


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (changed("sampling", seconds_since_window=31.0), "no window drained for 31 s"),
        (changed("sampling", cpus_sampled=0), "no CPU is sampled"),
        (changed("spool", writable=False), "the spool cannot be written: windows are lost"),
    ],
)
def test_no_profile_is_a_failure(snapshot, reason):
    assert assess(snapshot) == Health("failed", (reason,))


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (changed("sampling", cpus_sampled=1), "1 of 2 CPUs are sampled"),
        (
            changed("sampling", unwinder=False, unwinder_refused="R1 is no pointer"),
            "frame pointers only, the kernel refused the unwinder: R1 is no pointer",
        ),
        (
            changed("sampling", mappings="", mappings_refused="faults: no BTF"),
            "short-lived processes have no stacks: faults: no BTF",
        ),
        (changed("samples", dropped_per_second=0.5), "0.5 of 38.0 samples a second are lost"),
        (
            dataclasses.replace(HEALTHY, elf_worker_failing=True),
            "the ELF worker fails: user frames have no names",
        ),
        (filled(91), "map samples_0 holds 91 of 100 elements"),
        (
            uploading(acknowledged_age_seconds=301.0, pending=31),
            "main: 31 windows wait, silent for 301 s",
        ),
        (
            uploading(acknowledged_age_seconds=None, pending=70),
            "main: 70 windows wait, silent for 754 s",
        ),
    ],
)
def test_loss_lateness_and_limits_degrade(snapshot, reason):
    assert assess(snapshot) == Health("degraded", (reason,))


@pytest.mark.parametrize(
    "snapshot",
    [
        changed("sampling", seconds_since_window=29.0),
        changed("samples", dropped_per_second=0.38),
        filled(90),
        filled(None),
        uploading(acknowledged_age_seconds=301.0, pending=1),
        changed("sandbox", landlock_abi=0, landlock=()),
    ],
)
def test_within_limits_is_ok(snapshot):
    assert assess(snapshot).level == "ok"


def test_long_windows_may_take_long():
    snapshot = changed("sampling", window_seconds=60.0, seconds_since_window=179.0)
    assert assess(snapshot).level == "ok"


def test_failures_come_first_and_nothing_is_left_out():
    snapshot = changed("sampling", cpus_sampled=0, seconds_since_window=40.0)
    snapshot = dataclasses.replace(snapshot, elf_worker_failing=True)
    health = assess(snapshot)
    assert health.level == "failed"
    assert [reason.split()[0] for reason in health.reasons] == ["no", "no", "the"]


def test_worst_keeps_every_reason():
    parts = Health("degraded", ("a",)), Health("ok", ()), Health("failed", ("b",))
    assert worst(*parts) == Health("failed", ("b", "a"))
