# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctl import privileges
from ctl.privileges import judge
from ctl.processes import CGROUP, find, role
from tests.ctl.conftest import CLOSED, STRANGER, running

PROC = Path("/proc")


def only(uids, pid):
    rows = [row for row in find(PROC, frozenset(uids)) if row.pid == pid]
    assert len(rows) == 1
    return rows[0]


def test_our_own_process():
    row = only({os.getuid()}, os.getpid())
    assert row.parent_pid == os.getppid()
    assert row.threads >= 1
    assert row.cpu_seconds > 0
    assert row.rss_bytes > 1 << 20
    assert row.pss_bytes > 1 << 20
    assert row.age_seconds > 0


def test_nobody_of_that_uid():
    assert find(PROC, frozenset({STRANGER + 1})) == ()


@pytest.mark.parametrize(
    ("cmdline", "expected"),
    [
        (b"/usr/bin/python3\0-I\0/run/parca-agent/lib/collector\0collect\0", "collector"),
        (b"python3\0lib/collector\0ship\0--config\0x\0", "shipper"),
        (b"python3\0/lib/collector\0elf\0", "elf worker"),
        (b"python3\0/lib/collector\0elf\0tables\0", "elf worker (tables)"),
        (b"python3\0/lib/collector\0report\0", "report"),
        (b"python3\0/lib/collector", "name"),
        (b"python3\0/lib/loader\0", "loader"),
        (b"\xff\0\0", "name"),
        (b"", "name"),
    ],
)
def test_role(cmdline, expected):
    assert role(cmdline, "name") == expected


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/parca-agent.slice", True),
        ("/parca-agent.slice/parca-agent-ship.service", True),
        ("/system.slice/parca-agent-elf@3.service/sub", True),
        ("/user.slice/user-1000.slice/parca-agent.slice", False),
        ("/parca-agent.slicer", False),
        ("/system.slice/ssh.service/parca-agent.service", False),
    ],
)
def test_only_cgroups_that_root_made_are_ours(path, ours):
    assert bool(CGROUP.fullmatch(path)) is ours


@pytest.mark.root
def test_a_closed_process_keeps_the_promise(closed_process, monkeypatch):
    monkeypatch.setattr(privileges, "STARTED_SECONDS", 0.0)
    row = only({STRANGER}, closed_process)
    assert (row.uids, row.user) == ((STRANGER,), str(STRANGER))
    assert (row.no_new_privs, row.seccomp) == (1, 2)
    assert judge((row,)).level == "ok"


@pytest.mark.root
def test_the_most_privileged_thread_counts(open_process, monkeypatch):
    monkeypatch.setattr(privileges, "STARTED_SECONDS", 0.0)
    row = only({STRANGER}, open_process)
    assert row.threads == 2
    assert "NoNewPrivs:\t1" in Path(f"/proc/{open_process}/status").read_text()
    assert row.no_new_privs == 0
    health = judge((row,))
    assert health.level == "failed"
    assert any("bounding set holds" in reason for reason in health.reasons)
    assert any("NoNewPrivs 0" in reason for reason in health.reasons)


@pytest.mark.root
def test_sec_14_a_hostile_name_cannot_forge_the_table(open_process):
    row = only({STRANGER}, open_process)
    assert row.uids == (STRANGER,)
    assert row.role == "a\\x0aUid:\\x090\\x1b[m"


@pytest.mark.root
def test_a_container_that_uses_our_uid_is_not_ours():
    child = [sys.executable, "-c", CLOSED]
    before = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*before, "true"], check=False).returncode:
        pytest.skip("no pid namespace can be made here")
    with running([*before, *child]):
        assert find(PROC, frozenset({STRANGER})) == ()
