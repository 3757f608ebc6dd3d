# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest

from collector.status.snapshot import Health
from ctl.document import AgentProcess, Capabilities
from ctl.privileges import STARTED_SECONDS, capability_names, judge

EMPTY = "0" * 16
GOOD = AgentProcess(
    role="collector",
    pid=7,
    parent_pid=1,
    user="parca-agent",
    uids=(990,),
    threads=2,
    age_seconds=60.0,
    capabilities=Capabilities(EMPTY, EMPTY, EMPTY, EMPTY, EMPTY),
    no_new_privs=1,
    seccomp=2,
    cpu_seconds=0.1,
    cpu_percent=0.2,
    rss_bytes=1,
    pss_bytes=1,
)


def test_nothing_kept():
    assert judge((GOOD,)) == Health("ok", ())


def test_nothing_seen_is_not_ok():
    assert judge(()).level == "degraded"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"uids": (0, 990)}, "runs as uid 0"),
        ({"no_new_privs": 0}, "may gain privileges by execve (NoNewPrivs 0)"),
        ({"seccomp": 0}, "runs without a system call filter (Seccomp 0)"),
        ({"seccomp": 1}, "runs without a system call filter (Seccomp 1)"),
    ],
)
def test_each_privilege_is_a_failure(change, reason):
    row = dataclasses.replace(GOOD, **change)
    assert judge((GOOD, row)) == Health("failed", (f"collector (pid 7): {reason}",))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Capabilities)])
def test_each_set_counts(name):
    held = dataclasses.replace(GOOD.capabilities, **{name: f"{1 << 39:016x}"})
    row = dataclasses.replace(GOOD, capabilities=held)
    assert judge((row,)).reasons == (f"collector (pid 7): {name} set holds bpf",)


def test_a_process_that_is_starting_is_not_judged_yet():
    row = dataclasses.replace(GOOD, seccomp=0, age_seconds=STARTED_SECONDS - 0.1)
    assert judge((row,)).level == "ok"


@pytest.mark.parametrize(
    ("held", "names"),
    [(1 << 21 | 1 << 38, "sys_admin perfmon"), ((1 << 41) - 1, "all"), (1 << 50, "50")],
)
def test_sets_are_spelled(held, names):
    assert capability_names(held) == names
