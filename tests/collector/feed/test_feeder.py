# SPDX-License-Identifier: Apache-2.0
"""The feeder with the real maps and the real ELF worker: what gets a table, what does not, and
when it is asked again."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from collector.feed import vdso
from collector.feed.budget import PERIOD, SHARE, WARM_UP, Budget
from collector.feed.cache import Cache
from collector.feed.feeder import RETRY_SECONDS, Feeder
from collector.feed.jobs import Jobs
from collector.feed.loaded import Loaded
from collector.model import Mapping, MappingFlag, ProcessId
from collector.symbolize.candidate import DELETED
from collector.symbolize.client import ElfClient
from libbpf import abi
from tests.collector.feed import maps
from tests.collector.worker.worker_process import Supervised

PROCESS = ProcessId(4711, 1, 0)
EXT4 = 0xEF53
SH = str(Path("/bin/sh").resolve())


class Clock:
    def __init__(self):
        self.offset = 0.0

    def __call__(self):
        return time.monotonic() + self.offset


def mapping(found, file, **changes):
    """Of the file found there, with something said of it that is not so."""
    status = Path(found).stat()
    fields = {
        "start": 0x1000, "end": 0x2000, "offset": 0, "device": status.st_dev,
        "inode": status.st_ino, "fs_magic": EXT4, "flags": MappingFlag(0), "path": str(found),
        "file_size": status.st_size, "file": file,
    }  # fmt: skip
    return Mapping(**(fields | changes))


@pytest.fixture
def worker(tmp_path):
    made = Supervised(tmp_path / "socket")
    yield made
    made.close()


@pytest.fixture
def table(pins):
    return Loaded(*(pins.maps[n] for n in ("executables", "file_tables", "unwind_chunks")))


@pytest.fixture
def made(worker, table, tmp_path):
    (tmp_path / "cache").mkdir()
    cache = Cache(tmp_path / "cache", max_bytes=1 << 24, min_free_bytes=0, reader=bytes(16))
    clock = Clock()
    feeder = Feeder(ElfClient(worker.path, 12), table, cache, vdso=vdso.copy(), clock=clock)
    feeder.clock = clock
    return feeder


def wait(wanted, seconds=10.0):
    end = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.root
def test_files_get_tables_and_equal_ones_share_them(made, worker, pins, tmp_path):
    worker.start()
    made.start()
    copies = [shutil.copy(sys.executable, tmp_path / f"copy{n}") for n in range(2)]
    for copy in copies:
        Path(copy).chmod(0o755)
    made.wanted(PROCESS, [mapping(copy, 100 + n) for n, copy in enumerate(copies)])
    wait(lambda: len(maps.files(pins)) == 2)
    first, second = (maps.files(pins)[100 + n] for n in range(2))
    assert first == second != 0
    assert maps.whole(pins)
    assert (made.counters.fresh, made.counters.known, made.cache.counters.stored) == (1, 1, 1)
    made.wanted(PROCESS, [mapping(copies[0], 100)])
    assert made.counters.wanted == 2  # known: nothing to be done


@pytest.mark.root
def test_tables_on_disk_need_no_new_one(made, worker, table, pins):
    worker.start()
    made.start()
    made.wanted(PROCESS, [mapping(SH, 7)])
    wait(lambda: maps.files(pins).get(7))
    number = table.table_of(7)
    before = time.monotonic()
    # another feeder, as after a restart with new maps
    table.unload([number])
    made.wanted(PROCESS, [mapping(SH, 7)])
    wait(lambda: maps.files(pins).get(7))
    print(f"from disk: {1000 * (time.monotonic() - before):.1f} ms")
    assert (made.counters.fresh, made.counters.from_disk) == (1, 1)
    assert maps.files(pins)[7] != number


@pytest.mark.root
def test_the_vdso_has_a_table(made, worker, pins):
    worker.start()
    made.start()
    flags = MappingFlag.VDSO | MappingFlag.ANONYMOUS
    one = mapping("/", abi.FILE_VDSO, flags=flags, path="[vdso]", inode=0, fs_magic=0)
    made.wanted(PROCESS, [one])
    wait(lambda: maps.files(pins).get(abi.FILE_VDSO))


@pytest.mark.root
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"path": f"{SH}{DELETED}"}, "deleted"),
        ({"fs_magic": 0x6969}, "remote"),
        ({"inode": 1}, "other_file"),
        ({"path": "/nowhere"}, "unreadable"),
        ({"path": "/proc/self/status"}, "remote"),
    ],
)
def test_what_is_refused_passes_for_a_file_without_table(made, worker, pins, changes, reason):
    worker.start()
    made.start()
    made.wanted(PROCESS, [mapping(SH, 9, **changes)])
    wait(lambda: made.counters.refused[reason] == 1)
    wait(lambda: maps.files(pins) == {9: 0})
    assert not made.waiting
    # the kernel side asks again when its time is over
    made.clock.offset += 10 * RETRY_SECONDS + 1
    made.wanted(PROCESS, [mapping(SH, 10)])
    wait(lambda: 9 not in maps.files(pins))
    made.wanted(PROCESS, [mapping(SH, 9)])
    wait(lambda: maps.files(pins).get(9))


@pytest.mark.root
def test_sec_07_a_forged_build_id_gives_no_table_to_others(made, worker, pins, tmp_path):
    """Whoever forges a build id has the stacks of their own file wrong, and no others."""
    worker.start()
    made.start()
    copies = [Path(shutil.copy(SH, tmp_path / f"copy{n}")) for n in range(2)]
    os.chown(copies[1], 65534, 65534)
    made.wanted(PROCESS, [mapping(copy, 20 + n) for n, copy in enumerate(copies)])
    wait(lambda: len(maps.files(pins)) == 2)
    assert maps.files(pins)[20] != maps.files(pins)[21]


@pytest.mark.root
def test_without_a_worker_it_waits_and_the_main_loop_does_not(made, pins):
    made.start()
    began = time.monotonic()
    made.wanted(PROCESS, [mapping(SH, 5)])
    assert time.monotonic() - began < 0.05
    time.sleep(0.3)
    assert made.busy_seconds > 0.2
    assert not maps.files(pins)


@pytest.mark.root
def test_more_in_use_than_fits_keeps_what_is_there_and_backs_off(made, worker, table, pins):
    """No matter how often they are asked for, files beyond the room cost next to nothing."""
    worker.start()
    hot = []
    while table.limit - table.used >= 512:
        hot.append(table.load(maps.identity(len(hot)), 16, 1, maps.chunks(512)))
    table.load(maps.identity("rest"), 16, 1, maps.chunks(table.limit - table.used))
    made.start()
    before = time.thread_time()
    wanted = [mapping(SH, 30 + n) for n in range(50)]
    for _ in range(200):
        for number in hot:
            maps.use(pins, number, int(time.monotonic()))
        made.wanted(PROCESS, wanted)
        time.sleep(0.01)
    assert set(hot) <= maps.slots(pins).keys()
    assert table.counters.evicted == 0
    assert made.counters.refused["no_room"] <= 50
    assert time.thread_time() - before < 2


def test_jobs_are_done_once_those_that_are_asked_for_first():
    jobs = Jobs(limit=3)
    one = mapping(SH, 1)
    jobs.add(1, PROCESS, one, mapped=1000)
    jobs.add(2, PROCESS, one, asked=1)
    for _ in range(2):
        jobs.add(3, PROCESS, one, asked=1)
    assert not jobs.add(4, PROCESS, one, asked=1)
    assert (len(jobs), jobs.full) == (3, 1)
    order = []
    while job := jobs.take(fresh=True):
        order.append(job.file)
        jobs.done(job)
    assert order == [3, 2, 1]


def test_large_files_wait_for_small_ones_unless_they_are_wanted_more():
    jobs = Jobs()
    jobs.add(1, PROCESS, mapping(SH, 1, file_size=400 << 20), asked=10)
    jobs.add(2, PROCESS, mapping(SH, 2, file_size=1 << 20), asked=1)
    assert jobs.take(fresh=True).file == 2
    jobs.add(1, PROCESS, mapping(SH, 1, file_size=400 << 20), asked=200)
    assert jobs.take(fresh=True).file == 1


def test_without_a_budget_only_what_is_on_disk_is_done():
    jobs = Jobs()
    jobs.add(1, PROCESS, mapping(SH, 1), asked=5)
    jobs.add(2, PROCESS, mapping(SH, 2), asked=1)
    job = jobs.take(fresh=True)
    job.fresh = True
    jobs.put_back(job)
    assert jobs.take(fresh=False).file == 2
    assert jobs.take(fresh=True).file == 1


def test_new_tables_take_a_fifth_of_a_core_after_the_start():
    budget, now, spent = Budget(0.0), 0.0, 0.0
    while now < WARM_UP:
        assert budget.wait(now) == 0
        budget.spend(1.0, now)
        now += 1
    end = now + 20 * PERIOD
    while now < end:
        wait = budget.wait(now)
        if wait:
            now += wait
        else:
            now += 0.3
            spent += 0.3
            budget.spend(0.3, now)
    assert 0.9 * SHARE < spent / (20 * PERIOD) < SHARE + 0.02


@pytest.mark.root
def test_asked_from_many_threads_each_file_is_a_job_once(made):
    one = [mapping(SH, n) for n in range(2, 300)]
    threads = [threading.Thread(target=made.wanted, args=(PROCESS, one)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.waiting == 298
