# SPDX-License-Identifier: Apache-2.0
"""The collector's end: limits, numbers, crashes, full disks."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from collector.spool import cursor, files
from collector.spool.cursor import Cursor
from collector.spool.errors import SpoolError, SpoolFullError
from collector.spool.format import MAX_NUMBER, Header, name_of, number_of, unpack
from collector.spool.writer import Spool

BLOCK = 4096


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "spool"
    path.mkdir()
    return path


def open_spool(path, *, max_bytes=1 << 30, max_age_seconds=1e9, min_free_bytes=0, **more):
    return Spool(
        path,
        max_bytes=max_bytes,
        max_age_seconds=max_age_seconds,
        min_free_bytes=min_free_bytes,
        **more,
    )


def header(sequence=1, samples=10):
    return Header(1, sequence, 10**18, 10**10, samples)


def held(path):
    return sorted(number for item in path.iterdir() if (number := number_of(item.name)))


def settle(path, name, destination="parca", **more):
    path.mkdir(exist_ok=True)
    ship = files.open_directory(path)
    cursor.store(ship, Cursor(destination, acknowledged=name, **more))
    os.close(ship)


def test_a_window_is_on_disk_whole_under_a_rising_name(directory):
    spool = open_spool(directory)
    names = [spool.write(header(n), b"%d" % n) for n in range(3)]
    assert names == sorted(names)
    assert [number_of(name) for name in names] == held(directory)
    assert unpack((directory / names[2]).read_bytes()) == (header(2), b"2")
    assert (directory / names[2]).stat().st_mode & 0o777 == 0o640
    assert (spool.windows, spool.size) == (3, 3 * BLOCK)
    assert (spool.counters.written, spool.counters.written_samples) == (3, 30)


def test_last_window_is_that_of_the_newest_file(directory):
    spool = open_spool(directory)
    assert spool.last_window() is None
    spool.write(Header(4, 9, 1, 1, 1), b"")
    assert spool.last_window() == (4, 9)
    assert open_spool(directory).last_window() == (4, 9)


def test_quota_evicts_the_oldest(directory):
    spool = open_spool(directory, max_bytes=3 * BLOCK)
    names = [spool.write(header(n), b"x") for n in range(5)]
    assert held(directory) == [number_of(name) for name in names[2:]]
    assert spool.size == 3 * BLOCK
    assert spool.counters.evicted_unacknowledged == 2
    assert spool.counters.evicted_unacknowledged_samples == 20


def test_a_window_beyond_the_quota_is_refused_and_evicts_nothing(directory):
    spool = open_spool(directory, max_bytes=2 * BLOCK)
    spool.write(header(), b"x")
    with pytest.raises(SpoolFullError):
        spool.write(header(), bytes(2 * BLOCK))
    assert spool.windows == 1
    assert spool.counters.refused_full == 1


def test_the_newest_stays_until_its_successor_is_written(directory):
    spool = open_spool(directory, max_bytes=2 * BLOCK)
    spool.write(header(1), bytes(BLOCK))
    name = spool.write(header(2), bytes(BLOCK))
    assert held(directory) == [number_of(name)]
    assert spool.last_window() == (1, 2)


def test_age_evicts_by_a_clock_that_knows_no_date(directory, clock):
    spool = open_spool(directory, max_age_seconds=100, clock=clock)
    spool.write(header(), b"")
    clock.now += 60
    second = spool.write(header(), b"")
    assert spool.oldest_age_seconds == 60
    clock.now += 60
    spool.evict()
    assert held(directory) == [number_of(second)]
    clock.now += 1000
    spool.evict()
    assert held(directory) == [number_of(second)], "the newest stays"


def test_age_of_files_found_at_the_start_comes_from_their_date(directory, clock):
    spool = open_spool(directory)
    old, new = spool.write(header(), b""), spool.write(header(), b"")
    os.utime(directory / old, (0, 0))
    again = open_spool(directory, max_age_seconds=3600, clock=clock)
    assert again.oldest_age_seconds > 3600
    again.evict()
    assert held(directory) == [number_of(new)]


def test_free_space_for_others_is_kept_but_never_more_than_a_twentieth(directory, monkeypatch):
    real = os.fstatvfs(files.open_directory(directory))
    spool = open_spool(directory, min_free_bytes=1 << 60)
    free = real.f_bavail * real.f_frsize - real.f_blocks * real.f_frsize // 20
    if free > 1 << 20:
        spool.write(header(), b"a small window fits in the rest")
    blocks = real.f_blocks // 20
    full = os.statvfs_result((*real[:4], blocks, *real[5:]))
    monkeypatch.setattr(os, "fstatvfs", lambda fd: full)
    with pytest.raises(SpoolFullError):
        spool.write(header(), b"")
    assert spool.counters.refused_full == 1


def test_acknowledged_windows_are_evicted_under_their_own_counter(directory, tmp_path):
    spool = open_spool(directory, max_bytes=3 * BLOCK, ship_dir=tmp_path / "ship")
    names = [spool.write(header(n), b"") for n in range(3)]
    settle(tmp_path / "ship", names[0])
    settle(tmp_path / "ship", "", destination="gone", active=False)
    spool.write(header(), b"")
    spool.write(header(), b"")
    counters = spool.counters
    assert (counters.evicted_acknowledged, counters.evicted_unacknowledged) == (1, 1)


def test_numbers_never_repeat_even_if_the_directory_is_emptied(directory, tmp_path):
    spool = open_spool(directory)
    first = spool.write(header(), b"")
    (directory / first).unlink()
    second = open_spool(directory).write(header(), b"")
    assert second > first
    settle(tmp_path / "ship", second)
    for path in directory.iterdir():
        path.unlink()
    assert open_spool(directory, ship_dir=tmp_path / "ship").write(header(), b"") > second


def test_a_cursor_cannot_use_up_the_numbers(directory, tmp_path):
    settle(tmp_path / "ship", name_of(MAX_NUMBER))
    spool = open_spool(directory, ship_dir=tmp_path / "ship")
    assert number_of(spool.write(header(), b"")) < 10**6


def test_used_up_numbers_are_an_error_not_a_repetition(directory):
    (directory / name_of(MAX_NUMBER)).write_bytes(b"")
    (directory / ".reserved").write_text(f"{MAX_NUMBER}\n")
    spool = open_spool(directory)
    with pytest.raises(SpoolError, match="used up"):
        spool.write(header(), b"")
    assert spool.counters.refused_error == 1


def test_start_removes_what_is_half_written_and_leaves_what_is_not_ours(directory):
    spool = open_spool(directory)
    good = spool.write(Header(3, 8, 1, 1, 1), b"payload")
    (directory / f".{name_of(2)}.tmp").write_bytes(b"half")
    torn = (directory / good).read_bytes()[:-1]
    (directory / name_of(10**6)).write_bytes(torn)
    (directory / name_of(10**6 + 1)).write_bytes(b"short")
    (directory / name_of(10**6 + 2)).mkdir()
    (directory / "README").write_bytes(b"")
    again = open_spool(directory)
    assert again.last_window() == (3, 8)
    assert held(directory) == [number_of(good), 10**6 + 2]
    assert (again.counters.torn_files, again.counters.foreign_files) == (3, 2)
    assert again.windows == 1
    assert (directory / "README").exists()


def test_a_disk_that_fails_leaves_nothing_half_written(directory):
    spool = open_spool(directory)
    kept = spool.write(header(), b"")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK, before[1]))
    try:
        with pytest.raises(SpoolFullError):
            spool.write(header(), bytes(2 * BLOCK))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert held(directory) == [number_of(kept)]
    assert not list(directory.glob("*.tmp"))
    assert spool.counters.refused_full == 1
    assert spool.write(header(), bytes(2 * BLOCK)) > kept


@pytest.mark.root
def test_a_full_file_system_costs_the_oldest_not_the_newest(directory):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", directory], check=True)
    try:
        spool = open_spool(directory, min_free_bytes=0)
        names = [spool.write(header(n), bytes(3 * BLOCK)) for n in range(12)]
        assert held(directory)[-1] == number_of(names[-1])
        assert spool.counters.evicted_unacknowledged == 12 - spool.windows > 0
        (directory / "somebody-else").write_bytes(bytes(_rest(directory)))
        names.append(spool.write(header(12), bytes(3 * BLOCK)))
        assert unpack((directory / names[-1]).read_bytes())[0].sequence == 12
        spool.close()
    finally:
        subprocess.run(["umount", directory], check=True)


def _rest(directory):
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


WRITER = """
import sys
from pathlib import Path
from collector.spool.format import Header
from collector.spool.writer import Spool
spool = Spool(Path(sys.argv[1]), max_bytes=1 << 20, max_age_seconds=1e9, min_free_bytes=0)
last = spool.last_window() or (1, 0)
for sequence in range(last[1] + 1, 1 << 30):
    spool.write(Header(1, sequence, 1, 1, 1), bytes(20000))
    print(sequence, flush=True)
"""


def test_kill_9_at_any_moment_loses_no_window_that_was_written(directory):
    confirmed = 0
    for _ in range(5):
        command = [sys.executable, "-c", WRITER, str(directory)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
        lines = [child.stdout.readline() for _ in range(60)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        sequences = [int(line) for line in lines]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
        assert sequences[0] in (confirmed + 1, confirmed + 2)
        confirmed = sequences[-1]
        spool = open_spool(directory)
        assert spool.last_window()[1] in (confirmed, confirmed + 1)
        assert not list(directory.glob(".*.tmp"))
        spool.close()
