# SPDX-License-Identifier: Apache-2.0
"""The unwinder on the real kernel: code without frame pointers, tables of the real kind."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

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
def started(*command: object) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has come as far as to write a byte."""
    words = [str(word) for word in command]
    with programs.running(*words, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert len(process.stdout.read(1)) == 1
        yield process


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
