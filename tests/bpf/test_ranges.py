# SPDX-License-Identifier: Apache-2.0
"""The table of executable ranges: its search, compiled for this machine, and its upkeep."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from libbpf import abi
from libbpf.maps import Map
from tests.kernel.agent import Agent
from tests.security.as_collector import COMMANDS, bpf

HEADER = Path(__file__).parents[2] / "bpf/ranges.h"
RANGES_PER_CHUNK = 64
LENGTH_BITS = 19
CHUNKS = 8192
KEY_SIZE, VALUE_SIZE = abi.size_of("ranges_key"), abi.size_of("ranges")
SHIM = f"""
#include <stdbool.h>
typedef unsigned int __u32;
typedef unsigned long long __u64;
#define __always_inline inline
#define barrier_var(v) asm volatile("" : "+r"(v))
#define RANGES_PER_CHUNK {RANGES_PER_CHUNK}
#define RANGE_LENGTH_BITS {LENGTH_BITS}
#define RANGE_LENGTH_MASK ((1ULL << RANGE_LENGTH_BITS) - 1)
"""
ranges = st.lists(
    st.tuples(st.integers(0, 2**20), st.integers(1, 2**LENGTH_BITS - 1)),
    max_size=RANGES_PER_CHUNK,
)


@pytest.fixture(scope="module")
def covers(tmp_path_factory):
    """search_table() of bpf/ranges.h as (ranges, page) -> bool."""
    text = HEADER.read_text()
    body = text[text.index("/*\n * 1 if a < b") : text.index("/* Where an address of a process")]
    body = body.replace("static __always_inline __u32 search_table", "__u32 search_table")
    out = tmp_path_factory.mktemp("ranges") / "ranges.so"
    command = ["gcc", "-x", "c", "-", "-shared", "-fPIC", "-O2", "-Wno-unused", "-o", out]
    subprocess.run(command, input=SHIM + body, text=True, check=True)
    function = ctypes.CDLL(out).search_table
    function.restype = ctypes.c_uint32
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64]

    def call(table, page, rest=0):
        words = [start << LENGTH_BITS | length for start, length in table]
        words += [rest] * (RANGES_PER_CHUNK - len(words))
        array = (ctypes.c_uint64 * RANGES_PER_CHUNK)(*words)
        return bool(function(ctypes.addressof(array), len(table), page))

    return call


def disjoint(gaps):
    """Sorted, disjoint (start, length) pairs from gaps between them and lengths."""
    table, end = [], 0
    for gap, length in gaps:
        table.append((end + gap, length))
        end += gap + length
    return table


@settings(max_examples=300, deadline=None)
@given(ranges, st.integers(0, 2**52 - 1))
@example([], 0)
def test_the_search_finds_exactly_what_is_covered(covers, gaps, far):
    table = disjoint(gaps)
    pages = {0, far, 2**52 - 1}
    for start, length in table:
        pages |= {start - 1, start, start + length // 2, start + length - 1, start + length}
    for page in pages - {-1}:
        expected = any(start <= page < start + length for start, length in table)
        assert covers(table, page) == expected, (table, page)


@given(ranges, st.integers(0, 2**45 - 1))
@settings(max_examples=100, deadline=None)
def test_what_an_older_walk_left_behind_the_count_covers_nothing(covers, gaps, page):
    table = disjoint(gaps)
    everything = 1 << LENGTH_BITS | 2**LENGTH_BITS - 1
    expected = any(start <= page < start + length for start, length in table)
    assert covers(table, page, rest=everything) == expected


def executable_ranges():
    """The table itself: pinned for nobody, but root may ask for any map by its number. The newest:
    the kernel may still be at work to free that of an agent before."""
    newest = None
    for number in range(1, 1 << 16):
        fd = bpf(COMMANDS["MAP_GET_FD_BY_ID"], number.to_bytes(4, "little"))
        if fd < 0:
            continue
        found = Map.of("executable_ranges", fd)
        if (found.key_size, found.value_size, found.max_entries) == (KEY_SIZE, VALUE_SIZE, CHUNKS):
            found, newest = newest, found
        if found:
            os.close(found.fd)
    assert newest, "no such map"
    return newest


def processes(table):
    """Pids that have ranges."""
    return {int.from_bytes(key[:4], "little") for key, _ in table.items()}


@pytest.mark.root
def test_sec_15_a_storm_of_short_processes_leaves_no_ranges_behind(tmp_path):
    with Agent(tmp_path, hz=1999, window_seconds=1) as agent:
        table = executable_ranges()
        agent.wait_for(lambda: os.getpid() in processes(table), 5)
        began = time.monotonic()
        while time.monotonic() - began < 5:
            burst = [subprocess.Popen(["/bin/sh", "-c", "exec /bin/sh -c :"]) for _ in range(20)]
            for one in burst:
                one.wait()
        counters = agent.status()["counters"]
        assert counters["mappings.walks"] + counters["kernel.ranges_recorded"] > 100
        agent.next_window()
        left = processes(table)
        time.sleep(1)
        left &= processes(table)
        assert {pid for pid in left if not Path(f"/proc/{pid}").exists()} == set()
        assert agent.status()["counters"]["kernel.ranges_full"] == 0
