# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

import pytest

from supervisor import directories, mounts, oneshot, spawn
from supervisor.errors import FailureError, RefusalError
from supervisor.layout import Layout

NOBODY = 65534
INFO = r"""
21 1 0:20 / / rw - ext4 /dev/root rw
30 21 0:30 / /run rw - tmpfs tmpfs rw
31 30 0:31 / /run/parca-agent/bpf rw - bpf parca-agent rw
32 30 0:31 / /run/parca-agent\040two rw - bpf parca-agent rw
33 30 0:32 / /run/parca-agent/lib ro - ext4 /dev/root rw
34 33 0:33 / /run/parca-agent/lib rw - tmpfs x rw
"""


def test_mount_points_are_found_newest_first() -> None:
    run = Path("/run/parca-agent")
    assert mounts.mounted_under(run, INFO) == [run / "lib", run / "lib", run / "bpf"]
    assert mounts.mounted_under(Path("/run/parca-agent two"), INFO) == [
        Path("/run/parca-agent two")
    ]


@pytest.fixture
def pins(layout: Layout) -> Path:
    directories.make(layout.run, 0, 0, 0o755)
    directories.make(layout.pins, 0, 0, 0o755)
    mounts.mount_pins(layout.pins, NOBODY)
    return layout.pins


@pytest.mark.root
def test_the_private_bpffs_is_for_root_and_one_group(pins: Path) -> None:
    found = pins.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (0, NOBODY, 0o750)
    assert found.st_dev != pins.parent.stat().st_dev
    assert os.statvfs(pins).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)


def pin_a_map(path: Path, mode: int) -> None:
    """An array map of one element, pinned: bpf(2) BPF_MAP_CREATE, then BPF_OBJ_PIN."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = struct.pack("IIII", 2, 4, 8, 1).ljust(120, b"\0")
    descriptor = libc.syscall(321, 0, attributes, len(attributes))
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    name = ctypes.create_string_buffer(os.fsencode(path))
    attributes = struct.pack("QI", ctypes.addressof(name), descriptor).ljust(120, b"\0")
    assert libc.syscall(321, 6, attributes, len(attributes)) == 0
    os.close(descriptor)
    path.chmod(mode)


@pytest.mark.root
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="knows the number of bpf(2) there")
def test_sampling_stops_before_the_collector_loses_its_maps(pins: Path) -> None:
    directory = pins / "gen-1"
    directory.mkdir()
    pin_a_map(directory / "link", 0o600)
    pin_a_map(directory / "stacks", 0o660)
    pin_a_map(directory / "iterator", 0o440)
    mounts.stop_sampling(pins)
    assert sorted(path.name for path in directory.iterdir()) == ["iterator", "stacks"]
    mounts.remove_pins(pins)
    assert list(directory.iterdir()) == []


@pytest.mark.root
def test_two_layers_of_mounts_and_a_busy_one_are_all_removed(pins: Path) -> None:
    mounts.mount_pins(pins, NOBODY)
    held = os.open(pins, os.O_RDONLY)
    mounts.unmount_under(pins.parent)
    assert mounts.mounted_under(pins.parent) == []
    os.close(held)


@pytest.mark.root
def test_pins_are_removed_only_from_a_mount(layout: Layout) -> None:
    layout.pins.mkdir(parents=True)
    (layout.pins / "mine").write_text("")
    mounts.remove_pins(layout.pins)
    assert (layout.pins / "mine").exists()
    (layout.pins / "mine").unlink()


@pytest.mark.root
def test_the_stage_is_visible_and_cannot_be_written(layout: Layout, tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    stage.mkdir()
    (stage / "file").write_text("code")
    layout.lib.mkdir(parents=True)
    mounts.mount_stage(stage, layout.lib)
    # tmp_path lets no other user through: the mount does.
    code, output = oneshot.run(
        spawn.unprivileged(NOBODY, NOBODY), ("/bin/cat", str(layout.lib / "file")), 10
    )
    assert (code, output) == (0, b"code")
    with pytest.raises(OSError, match="Read-only"):
        (layout.lib / "file").write_text("other")


@pytest.mark.root
def test_a_mount_that_fails_is_reported(layout: Layout) -> None:
    with pytest.raises(FailureError, match="mount"):
        mounts.mount_stage(Path("/nonexistent"), layout.lib)


@pytest.mark.root
def test_the_run_directory_has_one_holder(layout: Layout) -> None:
    held = directories.lock(layout.run)
    with pytest.raises(RefusalError, match="Another supervisor"):
        directories.lock(layout.run)
    os.close(held)
    os.close(directories.lock(layout.run))


@pytest.mark.root
def test_a_directory_of_somebody_else_or_a_link_is_refused(layout: Layout) -> None:
    layout.run.mkdir()
    os.chown(layout.run, NOBODY, NOBODY)
    with pytest.raises(RefusalError, match="belongs to uid 65534"):
        directories.make(layout.run, 0, 0, 0o755)
    layout.run.rmdir()
    layout.run.symlink_to("/tmp")
    with pytest.raises(RefusalError, match="not a directory"):
        directories.make(layout.run, 0, 0, 0o755)
    layout.run.unlink()


@pytest.mark.root
def test_a_written_file_is_readable_by_all_and_complete(layout: Layout) -> None:
    layout.run.mkdir()
    before = os.umask(0o077)
    directories.write(layout.run / "a.yaml", "x: 1\n")
    os.umask(before)
    assert (layout.run / "a.yaml").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in layout.run.iterdir()] == ["a.yaml"]
