# SPDX-License-Identifier: Apache-2.0
"""The unwinder on the real kernel: code without frame pointers, tables of the real kind."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.model import StackEnd
from tests.kernel import programs
from tests.kernel.unwinding import Unwinding, ends, sampling
from tests.loader.stand import make

pytestmark = pytest.mark.root

DEEP = """
#include <stdlib.h>
#include <unistd.h>
static volatile unsigned long sink;
__attribute__((noinline)) static void work(int depth)
{
    if (depth > 1) work(depth - 1); else for (write(1, "", 1);;) sink++;
    sink++;
}
int main(int count, char **arguments) { work(atoi(arguments[count - 1])); return 0; }
"""
WITHOUT = ("-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-fno-inline")
BELOW = 4
"""Frames below work: main, libc's two, _start."""


@pytest.fixture(scope="module")
def unwinding() -> Iterator[Unwinding]:
    with make() as stand, sampling(stand) as made:
        yield made


@pytest.fixture(scope="module")
def deep(readable: Path) -> Path:
    return programs.build(readable / "deep", DEEP, *WITHOUT)


@contextlib.contextmanager
def started(*command: object, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has written a byte, and has come back from that: it sleeps or spins."""
    words = [str(word) for word in command]
    with programs.running(*words, stdout=subprocess.PIPE, **options) as process:
        assert process.stdout
        assert len(process.stdout.read(1)) == 1
        state, before = _state_and_ticks(process.pid)
        end = time.monotonic() + 20
        while state != "S" and _state_and_ticks(process.pid)[1] < before + 2:
            assert time.monotonic() < end, "it does not get a CPU"
            time.sleep(0.01)
            state, _ = _state_and_ticks(process.pid)
        yield process


def _state_and_ticks(pid: int) -> tuple[str, int]:
    """How it stands, and its CPU time in user mode (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return fields[0], int(fields[11])


@pytest.mark.parametrize("depth", [1, 10, 60, 123])
def test_a_recursion_without_frame_pointers_is_seen_to_its_bottom(
    unwinding: Unwinding, deep: Path, depth: int
) -> None:
    with started(deep, depth) as process:
        unwinding.table_of(process.pid)
        found = unwinding.stacks(process.pid)
    whole = {len(stack.addresses) for stack in found if stack.end is StackEnd.COMPLETE}
    assert ends(found).keys() == {StackEnd.COMPLETE}
    assert whole == {depth + BELOW}


def test_the_one_hundred_and_twenty_eighth_frame_is_cut_off(
    unwinding: Unwinding, deep: Path
) -> None:
    with started(deep, 124) as process:
        unwinding.table_of(process.pid)
        found = unwinding.stacks(process.pid)
    assert {(len(stack.addresses), stack.end) for stack in found} == {(127, StackEnd.TRUNCATED)}


RUN_TIME = """
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static const unsigned char code[] = { CODE };
static volatile unsigned long sink;
__attribute__((noinline)) static void spin(void) { for (;;) sink++; }
int main(void)
{
    char go;
    if (write(1, "", 1) != 1 || read(0, &go, 1) != 1) return 1;
    int all = PROT_READ | PROT_WRITE | PROT_EXEC;
    void *made = mmap(0, 4096, all, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(made, code, sizeof(code));
    ((void (*)(void (*)(void)))made)(spin);
    return 0;
}
"""
SPINS = "-DCODE=0x55,0x48,0x89,0xe5,0xeb,0xfe"
"""push %rbp; mov %rsp, %rbp; jmp ."""
CALLS = "-DCODE=0x55,0x48,0x89,0xe5,0xff,0xd7,0x5d,0xc3"
"""push %rbp; mov %rsp, %rbp; call *%rdi; pop %rbp; ret"""


def let_go(process: subprocess.Popen[bytes]) -> None:
    """From here on it makes its code and runs it."""
    assert process.stdin
    process.stdin.write(b"!")
    process.stdin.close()


def test_code_made_since_the_walk_has_stacks_before_the_next(
    unwinding: Unwinding, readable: Path
) -> None:
    """Written before it is run, so no fault of an instruction shows it: the sampler finds it."""
    path = programs.build(readable / "spins", RUN_TIME, SPINS, *WITHOUT)
    with started(path, stdin=subprocess.PIPE) as process:
        known = [range(one.start, one.end) for one in unwinding.mappings(process.pid)]
        unwinding.table_of(process.pid)
        let_go(process)
        found = unwinding.stacks(process.pid)
    made = {stack: n for stack, n in found.items() if stack.end is StackEnd.COMPLETE}
    made = {
        stack: n for stack, n in made.items() if not any(stack.addresses[0] in r for r in known)
    }
    assert sum(made.values()) > 0.95 * found.total()
    assert {len(stack.addresses) for stack in made} == {5}


def test_by_frame_pointers_a_walk_goes_on_where_it_ended(readable: Path) -> None:
    """A caller that was discovered is shown once."""
    path = programs.build(readable / "calls", RUN_TIME, CALLS, "-O0")
    with (
        make() as stand,
        sampling(stand, unwinding="frame_pointers") as unwinding,
        started(path, stdin=subprocess.PIPE) as process,
    ):
        known = [range(one.start, one.end) for one in unwinding.mappings(process.pid)]
        let_go(process)
        found = unwinding.stacks(process.pid)
    spun = {stack: n for stack, n in found.items() if len(stack.addresses) > 2}
    assert sum(spun.values()) > 0.95 * found.total()
    for stack in spun:
        where = [any(address in one for one in known) for address in stack.addresses[:3]]
        assert where == [True, False, True]
