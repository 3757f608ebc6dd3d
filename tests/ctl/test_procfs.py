# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctl.procfs import (
    ProcError,
    TaskStatus,
    Times,
    parse_cgroups,
    parse_pss,
    parse_stat,
    parse_status,
)

STATUS = Path("/proc/self/status").read_bytes()


def test_our_own_status():
    status = parse_status(STATUS)
    assert status.ppid == os.getppid()
    assert status.uids == (*os.getresuid(), os.geteuid())
    assert len(status.capabilities) == 5
    assert status.rss_bytes > 1 << 20


def test_a_kernel_thread_has_no_memory():
    lines = [line for line in STATUS.split(b"\n") if not line.startswith(b"Vm")]
    assert parse_status(b"\n".join(lines)).rss_bytes == 0


def test_the_numbers_of_a_thread():
    text = (
        b"Name:\tx\\n\\\\n\nPPid:\t7\nUid:\t1\t2\t3\t4\nVmRSS:\t  12 kB\nNSpid:\t9\t1\n"
        b"CapInh:\t0000000000000001\nCapPrm:\t0000000000000002\nCapEff:\t0000000000000004\n"
        b"CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    )
    bounding = (1 << 41) - 1
    assert parse_status(text) == TaskStatus(
        "x\n\\n", 7, (1, 2, 3, 4), (1, 2, 4, bounding, 0), 1, 2, namespaces=2, rss_bytes=12_288
    )


def test_a_name_cannot_move_the_fields_of_stat():
    rest = b" S " + b" ".join(str(n).encode() for n in range(4, 53))
    assert parse_stat(b"5 (a) S 1 1 1)" + rest) == Times(cpu=14 + 15, start=22)


def test_cgroups_of_both_versions():
    assert parse_cgroups(b"12:cpu,cpuacct:/a:b\n0::/system.slice/x.service\n") == (
        "/a:b",
        "/system.slice/x.service",
    )


def test_pss():
    assert parse_pss(b"00-ff ---p 0 [rollup]\nRss:  9 kB\nPss:       3 kB\n") == 3072
    assert parse_pss(Path("/proc/self/smaps_rollup").read_bytes()) > 1 << 20


# Any bytes give a value or ProcError.
@pytest.mark.parametrize("parse", [parse_status, parse_stat, parse_pss])
@given(st.binary())
@example(b"1 (x) S")
@example(b"Pss: x\n")
def test_any_bytes_are_refused(parse, data):
    with pytest.raises(ProcError):
        parse(data)


@given(st.integers(0, len(STATUS) - 1), st.binary(max_size=3))
def test_a_damaged_status_gives_a_value_or_proc_error(at, new):
    damaged = STATUS[:at] + new + STATUS[at + 1 :]
    with contextlib.suppress(ProcError):
        assert len(parse_status(damaged).capabilities) == 5


@given(st.binary())
def test_any_bytes_are_cgroups(data):
    assert all("\n" not in path for path in parse_cgroups(data))
