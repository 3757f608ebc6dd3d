# SPDX-License-Identifier: Apache-2.0
"""The memory iterator: what it gives, what it refuses, how fast, and what it costs the process."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from collector.elf.source import Source
from collector.feed import image as images
from collector.feed.image import image
from collector.feed.memory import MemoryDeniedError
from collector.mappings import records
from collector.model import ProcessId
from collector.unwind.plan import plan
from collector.unwind.table import unwind_table
from libbpf import abi, iterators, memory
from libbpf._libbpf import lib
from tests.kernel.programs import build
from tests.loader.stand import make
from tests.security.memory_reader import as_reader, started

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
OTHER = "65534"
SETPRIV = ("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups")
PAGE = 4096


@pytest.fixture(scope="module")
def pins():
    """The pins of the real loader; nothing else of the agent runs."""
    with make() as stand:
        assert stand.load().code == 0
        yield stand.layout.pins


@pytest.fixture(scope="module")
def mapped(readable):
    return build(readable / "mapped", HERE / "mapped.c", "-O2", "-fomit-frame-pointer")


def planned(fd, offset, present):
    """What the ELF worker does, without its process."""
    return plan(Source.of_descriptor(fd), offset, present)


def image_of(reader, pid):
    """Bytes of the program's image, and what of it is really there."""
    process, mappings = reader.program(pid)
    present = []

    def noted(fd, offset, ranges):
        present[:] = ranges
        return planned(fd, offset, ranges)

    fd = image(reader.memory, process, mappings, noted)
    return os.pread(fd, mappings[0].file_size, 0), present


def check_image(pins, pid, data):
    """What is read of a process is its file, and gives the rows of its file."""
    found, present = as_reader(pins, lambda reader: image_of(reader, pid))
    assert len(found) == len(data)
    assert len(present) >= 3
    for offset, size in present:
        wanted = data[offset : offset + size]
        if offset == 0:
            wanted = images._without_sections(wanted)
        assert found[offset : offset + size] == wanted
    rows = unwind_table(Source.of_bytes(found))
    assert rows == unwind_table(Source.of_bytes(data))
    assert len(rows.addresses) > 10


def cannot_open(path):
    def attempt(_):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError as error:
            return error.errno
        return 0

    return attempt


def test_a_program_that_others_may_only_execute(pins, mapped, readable):
    path = readable / "execute-only"
    shutil.copyfile(mapped, path)
    os.chown(path, int(OTHER), int(OTHER))
    path.chmod(0o711)
    with started(*SETPRIV, path, path, path, path, stdin=-1, stdout=-1) as victim:
        assert as_reader(pins, cannot_open(path)) == errno.EACCES
        check_image(pins, victim.pid, mapped.read_bytes())


def test_a_program_that_is_deleted(pins, mapped, readable):
    path = readable / "deleted"
    shutil.copy(mapped, path)
    with started(path, mapped, mapped, mapped, stdin=-1, stdout=-1) as victim:
        path.unlink()
        check_image(pins, victim.pid, mapped.read_bytes())


def test_a_program_that_never_was_a_file(pins, mapped):
    fd = os.memfd_create("program")
    os.write(fd, mapped.read_bytes())
    path = f"/proc/self/fd/{fd}"
    with started(path, mapped, mapped, mapped, stdin=-1, stdout=-1, pass_fds=[fd]) as victim:
        check_image(pins, victim.pid, mapped.read_bytes())
    os.close(fd)


def test_a_program_in_another_mount_namespace(pins, mapped, tmp_path):
    place = tmp_path / "elsewhere"
    place.mkdir()
    inside = f"mount -t tmpfs tmpfs {place} && cp {mapped} {place}/hidden"
    run = f"exec {place}/hidden {mapped} {mapped} {mapped}"
    command = ("unshare", "--mount", "sh", "-c", f"{inside} && {run}")
    with started(*command, stdin=-1, stdout=-1) as victim:
        assert as_reader(pins, cannot_open(place / "hidden")) in (errno.ENOENT, errno.EACCES)
        check_image(pins, victim.pid, mapped.read_bytes())


def test_an_image_can_be_read_and_not_changed(pins, mapped):
    def attempts(reader):
        process, mappings = reader.program(victim.pid)
        fd = image(reader.memory, process, mappings, planned)
        answers = []
        for attempt in (
            lambda: os.write(fd, b"x"),
            lambda: os.ftruncate(fd, 1),
            lambda: os.ftruncate(fd, 1 << 30),
            lambda: os.fchmod(fd, 0o777),
        ):
            try:
                attempt()
                answers.append(0)
            except OSError as error:
                answers.append(error.errno)
        return answers

    with started(mapped, mapped, mapped, mapped, stdin=-1, stdout=-1) as victim:
        answers = as_reader(pins, attempts)
    assert answers[:3] == [errno.EPERM] * 3
    assert answers[3] in (0, errno.EPERM)  # to make it executable: linux 6.3 refuses


# --- what is refused --------------------------------------------------------------------------


def addresses(victim):
    """Name -> address, as tests/security/mapped.c says."""
    found = {}
    for line in victim.stdout:
        name, address = line.decode().split()
        found[name] = int(address)
        if name == "own_touched":
            return found
    raise AssertionError("the program ended")


@pytest.fixture(scope="module")
def victim(mapped, readable):
    data = readable / "data"
    data.write_bytes(b"nobody's business" * 1000)
    libc = next(word for word in Path("/proc/self/maps").read_text().split() if "/libc" in word)
    with started(mapped, mapped, libc, data, stdin=-1, stdout=-1) as process:
        process.places = addresses(process)
        yield process


def own(reader, pid):
    """Identity; an address of the program's code; where its file begins."""
    process, mappings = reader.program(pid)
    return process, mappings[0].start, mappings[0].start - mappings[0].offset


def outcome(reader, *request):
    """Name of the one counter that a request raised, and the bytes it gave."""
    before = reader.counters()
    answer = reader.ask(*request)
    after = reader.counters()
    raised = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert raised.pop("memory_bytes", 0) == len(answer.data)
    ((name, count),) = raised.items()
    assert count == 1
    return name, answer.data


REFUSED = {
    "heap": "anonymous",
    "stack": "anonymous",
    "vdso": "anonymous",
    "vvar": "anonymous",
    "anonymous": "anonymous",
    "data": "other_file",
    "data_shared": "other_file",
    "data_executable": "other_file",
    "other_elf": "other_file",
    "own_shared": "shared",
    "own_writable": "writable",
    "own_touched": "private",
    "variables": "writable",
    "relocated": "private",
}


def test_what_is_asked_for_rightly_is_given(pins, victim, mapped):
    def ask(reader):
        process, code, header = own(reader, victim.pid)
        return outcome(reader, process, code, header, victim.places["own"], PAGE)

    assert as_reader(pins, ask) == ("memory_read", mapped.read_bytes()[:PAGE])


@pytest.mark.parametrize("name", REFUSED)
def test_sec_21_memory_that_is_no_file_or_not_the_files(pins, victim, name):
    def ask(reader):
        process, code, header = own(reader, victim.pid)
        return outcome(reader, process, code, header, victim.places[name], 8)

    assert as_reader(pins, ask) == (f"memory_denied_{REFUSED[name]}", b"")


def test_sec_21_a_data_file_mapped_executable_is_no_elf_file(pins, victim):
    def ask(reader):
        process, _, _ = own(reader, victim.pid)
        place = victim.places["data_executable"]
        return outcome(reader, process, place, place, place, 8)

    assert as_reader(pins, ask) == ("memory_denied_not_elf", b"")


def test_sec_21_ranges_that_cannot_be(pins, victim):
    top = 1 << 64
    cases = {
        (0, 0): "length",
        (0, PAGE + 1): "length",
        (0, (1 << 32) - 1): "length",
        (top - 8 - (0), 16): "length",  # wraps around
        (top - (1 << 31), 16): "unmapped",  # the kernel's
        (1, 16): "unmapped",
    }

    def ask(reader):
        process, code, header = own(reader, victim.pid)
        place = victim.places["own"]
        answers = [
            outcome(reader, process, code, header, address or place, length)
            for address, length in cases
        ]
        end = outcome(reader, process, code, header, place + 2 * PAGE - 8, 16)
        return [*answers, end]

    expected = [*cases.values(), "outside"]
    found = as_reader(pins, ask)
    for (name, data), wanted in zip(found, expected, strict=True):
        if wanted == "outside":  # what lies behind may be joined to it, and be the same file's
            assert name in ("memory_denied_outside", "memory_read")
        else:
            assert (name, data) == (f"memory_denied_{wanted}", b"")


def test_sec_21_a_header_or_code_that_is_somewhere_else(pins, victim):
    def ask(reader):
        process, code, header = own(reader, victim.pid)
        places = victim.places
        return [
            outcome(reader, process, executable, start, places["own"], 8)
            for executable, start in (
                (places["heap"], header),
                (places["own"], header),
                (places["vdso"], header),
                (code, places["heap"]),
                (code, code),
                (code, header + 1),
                (code, places["other_elf"]),
                (code, places["own_touched"]),
                (code, places["own_shared"]),
                (1, header),
                (code, 1),
            )
        ]

    names = ["not_executable"] * 3 + ["not_elf"] * 6 + ["unmapped"] * 2
    assert as_reader(pins, ask) == [(f"memory_denied_{name}", b"") for name in names]


def test_sec_21_another_process_or_program_than_the_one_meant(pins, victim):
    def ask(reader):
        process, code, header = own(reader, victim.pid)
        pid, start, executed = process.pid, process.start_time, process.exec_id
        wrong = [
            ProcessId(pid, start + 1, executed),
            ProcessId(pid, start, executed + 1),
            ProcessId(pid, 0, 0),
            ProcessId(os.getpid(), start, executed),
        ]
        return [outcome(reader, one, code, header, victim.places["own"], 8) for one in wrong]

    assert as_reader(pins, ask) == [("memory_denied_process", b"")] * 4


def test_sec_21_a_kernel_thread(pins):
    def ask(reader):
        raw = iterators.read(reader.pins.iterators["task"], "task", tid=2)
        (process,) = records.tasks(raw)
        assert process.kernel_thread
        return outcome(reader, process.id, PAGE, PAGE, PAGE, 8)

    assert as_reader(pins, ask) == ("memory_denied_kernel_thread", b"")


def test_sec_21_a_process_closed_to_debuggers(pins, victim):
    def ask(reader):
        process, code, header = own(reader, victim.pid)
        return outcome(reader, process, code, header, victim.places["own"], 8)[0]

    def set_dumpable(line):
        victim.stdin.write(line)
        victim.stdin.flush()
        assert victim.stdout.readline() == b"done\n"

    set_dumpable(b"0\n")
    try:
        assert as_reader(pins, ask) == "memory_denied_not_dumpable"
    finally:
        set_dumpable(b"1\n")
    assert as_reader(pins, ask) == "memory_read"


def test_sec_21_a_program_that_its_user_may_not_read(pins, mapped, readable):
    """The kernel itself makes such a process undumpable."""
    path = readable / "unreadable"
    shutil.copyfile(mapped, path)
    path.chmod(0o711)

    def ask(reader):
        process, mappings = reader.program(hidden.pid)
        with pytest.raises(MemoryDeniedError) as caught:
            image(reader.memory, process, mappings, planned)
        return caught.value.denial

    shell = ("sh", "-c", f"exec {path} {mapped} {mapped} {mapped}")  # setpriv has capabilities left
    with started(*SETPRIV, *shell, stdin=-1, stdout=-1) as hidden:
        assert as_reader(pins, ask) == "not_dumpable"


def test_every_denial_has_a_counter_of_its_name():
    names = abi.counter_names()
    first = names.index("memory_read")
    assert len(memory.DENIALS) + 1 == lib.MEMORY_STATUSES
    for number, name in memory.DENIALS.items():
        assert names[first + number] == f"memory_denied_{name}"


# --- how fast, and at what cost ---------------------------------------------------------------


@pytest.fixture(scope="module")
def storm(readable):
    return build(readable / "storm", HERE / "storm.c", "-O2", "-pthread")


def pace(process, halves):
    """Rounds in each of so many half seconds."""
    totals = [int(process.stdout.readline()) for _ in range(halves + 1)]
    return [after - before for before, after in pairwise(totals)]


def test_sec_16_a_mapping_storm_goes_on_while_it_is_read(pins, storm):
    """With an iterator over mappings that copies, its threads never run again. While they storm the
    lock may never be had, and each answer be that it is busy; it is as soon as they rest."""

    def read(reader):
        process, mappings = reader.program(victim.pid)
        start, header = mappings[0].start, mappings[0].start - mappings[0].offset
        before, began, walks = reader.counters(), time.monotonic(), 0
        while time.monotonic() - began < 5:
            walks += bool(
                iterators.read(reader.pins.iterators["task_vma"], "task_vma", tid=process.pid)
            )
            reader.ask(process, start, header, start, PAGE)
        after = reader.counters()
        return walks, {name: after[name] - before[name] for name in after}

    def read_at_rest(reader):
        process, mappings = reader.program(victim.pid)
        start, header = mappings[0].start, mappings[0].start - mappings[0].offset
        return outcome(reader, process, start, header, start, 8)[0]

    with started(storm, stdout=subprocess.PIPE) as victim, ThreadPoolExecutor() as pool:
        alone = pace(victim, 6)
        reading = pool.submit(as_reader, pins, read)
        beside = pace(victim, 8)
        walks, counted = reading.result()
        after = pace(victim, 3)
        victim.send_signal(signal.SIGSTOP)
        at_rest = as_reader(pins, read_at_rest)
    given, busy = counted["memory_read"], counted["memory_denied_busy"]
    print(f"alone {alone}, beside {beside}, after {after}")
    print(f"{walks} walks, {given} answers, {busy} busy")
    assert walks > 100
    assert given + busy > 100
    assert at_rest == "memory_read"
    assert min(beside) > 0.2 * min(alone)
    assert min(after) > 0.2 * min(alone)


BURST, PER_SECOND = lib.MEMORY_BURST, lib.MEMORY_PER_SECOND


def test_sec_22_a_reader_in_a_hurry_is_held_to_the_rate(pins, victim):
    def hurry(reader):
        process, code, header = own(reader, victim.pid)
        before, began = reader.counters(), time.monotonic()
        while (elapsed := time.monotonic() - began) < 4:
            reader.ask(process, code, header, victim.places["own"], PAGE)
        after = reader.counters()
        return elapsed, {name: after[name] - before[name] for name in after}

    elapsed, counted = as_reader(pins, hurry)
    limit = BURST + PER_SECOND * elapsed + 1
    print(f"{elapsed:.1f} s: {counted}")
    assert PER_SECOND * (elapsed - 1) < counted["memory_read"] <= limit
    assert counted["memory_bytes"] == PAGE * counted["memory_read"]
    assert counted["memory_denied_rate"] > 0


def test_sec_22_the_rate_cannot_be_changed_by_who_reads(pins):
    def look(reader):
        names = {path.name for path in next(pins.glob("gen-*")).iterdir()}
        return names, reader.pins.maps["memory_request"].max_entries

    names, entries = as_reader(pins, look)
    assert "memory_request" in names
    assert "memory_rate" not in names
    assert entries == 1
