# SPDX-License-Identifier: Apache-2.0
"""Generations of pins, made by the real loader on the real kernel."""

from __future__ import annotations

import errno
import grp
import os
import signal
import stat
import subprocess

import pytest

from libbpf import abi
from loader import pin
from supervisor import mounts
from supervisor.layout import PINS
from tests.loader import tracer

pytestmark = pytest.mark.root

ROOT_ONLY = {"process_exec", "process_exit"}
RECORDERS = {
    "mappings": {"record_mapping"},
    "faults": {"record_exec", "record_fault"},
    "": set(),
}
LONG = os.environ.get("PARCA_AGENT_TESTS_FULL")
CHANGES = {
    *(tracer.BPF, tracer.PERF_EVENT_OPEN, tracer.MKDIR, tracer.RMDIR, tracer.RENAME),
    *(tracer.UNLINK, tracer.CHMOD, tracer.CHOWN),
}


def test_what_is_pinned_for_whom(stand):
    assert stand.load().code == 0
    assert {name: set(pins) for name, pins in stand.pins().items()} == {"gen-1": everything(stand)}
    group = grp.getgrnam(PINS).gr_gid
    directory = stand.layout.pins / "gen-1"
    assert mode_and_owner(directory) == (0o750, 0, group)
    for name in everything(stand):
        mode = 0o440 if name in pin.ITERATORS else pin.MAPS.get(name, 0o600)
        owner_group = 0 if mode == 0o600 else group
        assert mode_and_owner(directory / name) == (mode, 0, owner_group), name


def everything(stand):
    """Names of the pins; what records mappings depends on the kernel."""
    return {
        *pin.MAPS,
        *pin.ITERATORS,
        *ROOT_ONLY,
        *RECORDERS[stand.report()["mappings"]["object"]],
        *(f"sample-{n}" for n in os.sched_getaffinity(0)),
    }


def mode_and_owner(path):
    status = path.lstat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def test_the_report_says_what_was_done(stand):
    assert stand.load().code == 0
    report = stand.report()
    assert stand.layout.loader_report.stat().st_mode & 0o777 == 0o644
    assert (report["generation"], report["mode"]) == (1, "perf")
    assert report["abi"] == abi.sha256()
    assert report["objects"] == abi.object_hashes()
    steps = [step["step"] for step in report["capabilities"]]
    assert steps == ["started", "shed", "loaded", "attached", "published", "dropped"]
    last = report["capabilities"][-1]
    assert {last[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0"}


def test_a_second_start_replaces_the_first_generation(stand):
    assert stand.load().code == 0
    assert stand.load().code == 0
    assert {name: set(pins) for name, pins in stand.pins().items()} == {"gen-2": everything(stand)}
    assert stand.report()["generation"] == 2


def changes(stand, at=lambda _: None):
    """Number of the loader's calls that change the kernel or a file system; asks `at` at each."""
    count = 0

    def counting(call):
        nonlocal count
        if call.number not in CHANGES:
            return None
        count += 1
        return at(count)

    ended = stand.load(counting)
    return count, ended


def test_sec_44_killed_at_any_step_nothing_half_is_published_and_the_next_start_cleans(stand):
    assert stand.load().code == 0
    whole_set = everything(stand)
    total, ended = changes(stand)
    assert ended.code == 0
    assert total > 150
    tail = total - 4 * len(whole_set)  # from about the first pin on, to the last of the old ones
    end = total + len(whole_set)  # a start that first cleans after a killed one makes more calls
    points = range(1, end) if LONG else [*range(1, tail, 60), *range(tail, end, 6)]
    published = {2}
    for point in points:
        _, ended = changes(stand, lambda n, point=point: tracer.Do.KILL if n == point else None)
        assert ended.code in (-signal.SIGKILL, 0), point
        pins = stand.pins()
        whole = {int(name[4:]) for name in pins if not name.endswith(pin.NEW)}
        assert set(pins[f"gen-{max(whole)}"]) == whole_set, point
        assert len([name for name in pins if name.endswith(pin.NEW)]) <= 1
        published |= whole
    _, ended = changes(stand)
    assert ended.code == 0
    assert list(stand.pins()) == [f"gen-{max(published) + 1}"]
    assert len(published) > 2, "no point after the publication was hit"


def test_sec_19_a_pin_directory_of_somebody_else_is_refused(stand):
    for change, restore, reason in (
        (lambda path: os.chown(path, 65534, -1), lambda path: os.chown(path, 0, -1), "uid 65534"),
        (lambda path: path.chmod(0o755), lambda path: path.chmod(0o750), "open to others"),
        (lambda path: path.chmod(0o770), lambda path: path.chmod(0o750), "open to others"),
    ):
        change(stand.layout.pins)
        refused(stand, reason)
        restore(stand.layout.pins)
    assert stand.load().code == 0


def refused(stand, reason):
    """The loader says no: status 2, one sentence, and not one call of bpf(2) was made."""
    asked = []
    ended = stand.load(lambda call: asked.append(call) if call.number == tracer.BPF else None)
    assert ended.code == 2, ended
    assert reason in ended.output
    assert len(ended.output.splitlines()) == 1
    assert asked == []


def test_sec_19_a_directory_that_is_no_bpffs_or_no_directory_is_refused(stand):
    mounts.unmount_under(stand.layout.pins)
    stand.layout.pins.chmod(0o750)
    refused(stand, "is no bpffs")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", stand.layout.pins], check=True)
    stand.layout.pins.chmod(0o750)
    refused(stand, "is no bpffs")
    subprocess.run(["umount", stand.layout.pins], check=True)
    stand.configure(pins_directory=stand.layout.run / "link")
    (stand.layout.run / "link").symlink_to("/sys/fs/bpf")
    refused(stand, "belongs to uid")
    stand.configure(pins_directory=stand.layout.run / "none")
    refused(stand, os.strerror(errno.ENOENT))


def test_a_configuration_that_somebody_else_may_change_is_refused(stand):
    stand.layout.loader_conf.chmod(0o666)
    refused(stand, "owned and writable by root alone")
