# SPDX-License-Identifier: Apache-2.0
"""A collector that was taken over writes the unwind rows: they steer, and decide over nothing.

The rows say that the return address is any word of a stack that is full of a secret, or whatever
else fits a rule; and what is no rule at all.
"""

from __future__ import annotations

import random
import secrets
import subprocess
from collections import Counter
from dataclasses import dataclass

import pytest

from collector.model import Stack, StackEnd
from collector.unwind.rows import Cfa, Rule, Saved, loaded
from libbpf import abi
from tests.kernel.programs import build, running
from tests.kernel.test_unwind import started
from tests.kernel.unwinding import Unwinding, chunk_of, ends, everywhere, sampling
from tests.loader.stand import make
from tests.security import as_collector, scan
from tests.security.test_leaks import FLAGS, SECRETIVE

pytestmark = pytest.mark.root

SAMPLES = 40
AIMED = [*range(0, 1024, 16), *range(1024, 4096, 128), *range(4096, 4352, 8), *range(1, 64, 9)]
RANDOM = 80


@dataclass
class Evidence:
    """Stacks by what the rows said, the ranges they may be of, and what the pins gave at last."""

    secret: bytes
    aimed: list[Counter[Stack]]
    invented: list[Counter[Stack]]
    executable: list[range]
    left: as_collector.Found

    def stacks(self):
        for found in (*self.aimed, *self.invented):
            yield from found


@pytest.fixture(scope="module")
def evidence(readable):
    secret = secrets.token_bytes(32)
    program = build(readable / "secretive", SECRETIVE, *FLAGS)
    with (
        make() as stand,
        sampling(stand, 4000) as unwinding,
        running(program, stdin=subprocess.PIPE) as victim,
    ):
        victim.stdin.write(secret)
        victim.stdin.close()
        mappings = unwinding.mappings(victim.pid)
        hostile = Hostile(unwinding, victim.pid, mappings)
        aimed = [hostile.by(chunk_of([(0, Rule(Cfa.STACK, 8 + k))])) for k in AIMED]
        invented = [hostile.by(body) for body in bodies(random.Random(secret))]
        unwinding.stacks(victim.pid, 1)
        left = as_collector.run(lambda: as_collector.everything(stand.layout.pins))
    executable = [range(one.start, one.end) for one in mappings]
    return Evidence(secret, aimed, invented, executable, left)


@dataclass
class Hostile:
    unwinding: Unwinding
    pid: int
    mappings: list

    def by(self, body):
        """The victim's stacks where these are the rows of everything it has mapped."""
        for one in self.mappings:
            self.unwinding.load(one.file, everywhere(one, body))
        return self.unwinding.stacks(self.pid, SAMPLES)


def bodies(chance):
    """Chunks with rules of all kinds, and bytes of any kind."""
    for number in range(RANDOM):
        if number % 4 == 3:
            yield chance.randbytes(16 + abi.UNWIND_DATA)
            continue
        starts = sorted({0, *(chance.randrange(1 << 16) for _ in range(number % 50))})
        yield chunk_of([(start, rule(chance)) for start in starts])


def rule(chance):
    kind = chance.choice([Cfa.STACK, Cfa.FRAME, Cfa.PLT, Cfa.SIGNAL, Cfa.END, Cfa.CLONED])
    near, saved = chance.randrange(-256, 4096), chance.choice(list(Saved))
    if chance.random() < 0.3:
        kind = chance.choice([Cfa.STACK_LOADED, Cfa.FRAME_LOADED])
        near = loaded(kind, near, chance.randrange(-32768, 32768)).offset
    return Rule(kind, near, saved, chance.randrange(-512, 512))


def test_sec_46_whatever_rows_say_only_words_within_executable_ranges_leave(evidence):
    for stack in evidence.stacks():
        for address in stack.addresses:
            assert any(address - 1 in one or address in one for one in evidence.executable)


def test_sec_46_no_byte_of_the_secret_is_anywhere(evidence):
    for stack in evidence.stacks():
        words = b"".join(address.to_bytes(8, "little") for address in stack.addresses)
        assert not scan.contains(words, evidence.secret)
    for name, elements in evidence.left.elements.items():
        for key, value in elements:
            assert not scan.contains(key + value, evidence.secret), name
    for name, data in evidence.left.raw.items():
        assert not scan.contains(data, evidence.secret), name


def test_the_rows_did_aim_at_the_secret(evidence):
    """Else the tests above would prove nothing."""
    outside = [found for found in evidence.aimed if ends(found)[StackEnd.OUTSIDE_MAPPINGS]]
    assert len(outside) > len(AIMED) / 2
    longer = [found for found in evidence.aimed if any(len(one.addresses) > 1 for one in found)]
    assert longer
    kinds = sum((ends(found) for found in evidence.invented), Counter())
    assert len(kinds) >= 5, kinds


def test_sec_46_why_a_walk_ended_does_not_tell_how_large_a_word_is(evidence, readable):
    """Words that are no addresses, far above and far below: all of them are unreadable."""
    program = build(readable / "numbers", NUMBERS, "-O1", "-fomit-frame-pointer")
    rules = [
        Rule(Cfa.FRAME, offset, Saved.AT, place)
        for offset in (16, -(1 << 31), (1 << 31) - 1)
        for place in (-16, 0, 7)
    ]
    rules += [loaded(Cfa.FRAME_LOADED, 0, added) for added in (-32768, 0, 32767)]
    rules += [Rule(Cfa.END)]
    with make() as stand, sampling(stand, 4000) as unwinding:
        for number in (1, 7, 8, 4096, 1 << 31, 0x6B6579, 1 << 62, (1 << 64) - 8):
            with started(program, number) as victim:
                (code,) = (one for one in unwinding.mappings(victim.pid) if "numbers" in one.path)
                for one in rules:
                    unwinding.load(code.file, everywhere(code, chunk_of([(0, one)])))
                    found = ends(unwinding.stacks(victim.pid, 20))
                    assert found.keys() == {StackEnd.UNREADABLE}, (number, one)


NUMBERS = """
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **arguments)
{
    unsigned long number = strtoul(arguments[1], 0, 10);
    write(1, "", 1);
    asm volatile("mov %0, %%rbp\\n1: jmp 1b" :: "r"(number));
}
"""
