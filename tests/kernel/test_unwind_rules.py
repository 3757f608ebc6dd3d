# SPDX-License-Identifier: Apache-2.0
"""Each way in which a walk can end, by rows that were made for it, on the real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.model import Mapping, Stack, StackEnd
from collector.unwind.rows import BOTTOM, END, UNSUPPORTED, Cfa, Rule, Saved, loaded
from libbpf import abi
from tests.kernel import programs
from tests.kernel.test_unwind import DEEP, WITHOUT, started
from tests.kernel.unwinding import Unwinding, chunk_of, everywhere, sampling
from tests.loader.stand import make

pytestmark = pytest.mark.root

KEEPING = ("-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-fno-inline")
FRAME = Rule(Cfa.FRAME, 16, Saved.AT, -16)
LOOP_BYTES = 32
"""More than the loop of the recursion's last call has: no sample lies further before another."""


@dataclass(frozen=True)
class Target:
    """A running program and where its own code is mapped."""

    unwinding: Unwinding
    pid: int
    code: Mapping

    def by(self, rule: Rule) -> set[tuple[StackEnd, int]]:
        """How its stacks end, and how long they are, where `rule` holds for all of its code."""
        return self.by_chunk(chunk_of([(0, rule)]))

    def by_chunk(self, body: bytes) -> set[tuple[StackEnd, int]]:
        self.unwinding.load(self.code.file, everywhere(self.code, body))
        return self.seen()

    def seen(self) -> set[tuple[StackEnd, int]]:
        return {(stack.end, len(stack.addresses)) for stack in self.stacks()}

    def stacks(self) -> list[Stack]:
        return list(self.unwinding.stacks(self.pid, 50))


@pytest.fixture(scope="module")
def unwinding() -> Iterator[Unwinding]:
    with make() as stand, sampling(stand) as made:
        yield made


def target(unwinding: Unwinding, pid: int, path: Path) -> Target:
    (code,) = (one for one in unwinding.mappings(pid) if one.path == str(path))
    return Target(unwinding, pid, code)


@pytest.fixture(scope="module")
def without(unwinding: Unwinding, readable: Path) -> Iterator[Target]:
    """20 frames without frame pointers."""
    path = programs.build(readable / "without", DEEP, *WITHOUT)
    with started(path, 20) as process:
        yield target(unwinding, process.pid, path)


@pytest.fixture(scope="module")
def keeping(unwinding: Unwinding, readable: Path) -> Iterator[Target]:
    """The same with frame pointers, down to a libc that has none."""
    path = programs.build(readable / "keeping", DEEP, *KEEPING)
    with started(path, 20) as process:
        yield target(unwinding, process.pid, path)


def test_the_bottom_and_what_no_rule_expresses_end_at_once(without: Target) -> None:
    assert without.by(BOTTOM) == {(StackEnd.COMPLETE, 1)}
    assert without.by(UNSUPPORTED) == {(StackEnd.UNSUPPORTED_ROW, 1)}
    assert without.by(Rule(Cfa.UNSUPPORTED)) == {(StackEnd.UNSUPPORTED_ROW, 1)}


def test_a_kind_of_rule_that_is_not_known_yet_is_unsupported(without: Target) -> None:
    body = chunk_of([(0, BOTTOM)])
    for kind in (100, 255):
        changed = body[:-8] + bytes([kind]) + body[-7:]
        assert without.by_chunk(changed) == {(StackEnd.UNSUPPORTED_ROW, 1)}


def test_a_frame_that_does_not_lie_above_the_one_before_is_stuck(without: Target) -> None:
    assert without.by(Rule(Cfa.STACK, 0)) == {(StackEnd.STUCK, 1)}
    assert without.by(Rule(Cfa.STACK, -64)) == {(StackEnd.STUCK, 1)}
    cycle = loaded(Cfa.STACK_LOADED, -8, 8)
    assert without.by(cycle) <= {(StackEnd.STUCK, 1), (StackEnd.UNREADABLE, 1)}


def test_a_word_that_is_no_address_ends_the_stack_outside(without: Target) -> None:
    """The recursion's frames have 16 bytes; in between lies what is no return address."""
    (seen,) = without.by(Rule(Cfa.STACK, 8))
    assert seen[0] in (StackEnd.OUTSIDE_MAPPINGS, StackEnd.COMPLETE)


def test_memory_that_is_not_there_ends_the_stack_unreadable(without: Target) -> None:
    assert without.by(Rule(Cfa.STACK, 1 << 30)) == {(StackEnd.UNREADABLE, 1)}
    assert without.by(loaded(Cfa.STACK_LOADED, -32768, 0)) <= {(StackEnd.UNREADABLE, 1)}


def test_a_frame_pointer_that_was_lost_is_not_used(keeping: Target) -> None:
    lost = Rule(Cfa.FRAME, 16, Saved.LOST)
    assert keeping.by(lost) == {(StackEnd.LOST_FRAME_POINTER, 2)}


def test_between_rows_the_frame_pointer_leads_on(keeping: Target) -> None:
    """An end marker, and no rows at all, in a file that has a table."""
    before = keeping.unwinding.counters()
    by_end = keeping.by(END)
    after = keeping.unwinding.counters()
    assert after["frames_by_frame_pointer"] > before["frames_by_frame_pointer"]
    assert by_end == keeping.by(FRAME)
    keeping.unwinding.load(keeping.code.file, everywhere(keeping.code, chunk_of([(0xFFFF, END)])))
    assert keeping.seen() == by_end
    assert {length for _, length in by_end} == {22}


def test_without_a_table_whatever_goes_wrong_is_for_want_of_one(
    keeping: Target, without: Target
) -> None:
    for one in (keeping, without):
        one.unwinding.unload(one.code.file)
        one.unwinding.loaded.know(one.code.file, 0)
        assert {end for end, _ in one.seen()} == {StackEnd.NO_TABLE}
    assert {length for _, length in keeping.seen()} == {22}


@pytest.mark.parametrize("wrong", [0, 4, -4, -8])
def test_a_chunk_that_is_another_ones_by_now_says_nothing(without: Target, wrong: int) -> None:
    """As when an element is used again while it is read: its keys are compared at the end."""
    made = everywhere(without.code, chunk_of([(0, BOTTOM)]))
    table = without.unwinding.load(without.code.file, made)
    chunks = without.unwinding.pins.maps["unwind_chunks"]
    for page, body in made.chunks:
        key = table.to_bytes(4, "little") + page.to_bytes(4, "little")
        value = bytearray(key + body + key)
        value[wrong] ^= 1
        chunks.update(key, bytes(value))
    # what was found before this is remembered by the number of the table: there was no sample yet
    assert without.seen() <= {(StackEnd.TABLE_CHANGED, 1), (StackEnd.COMPLETE, 1)}
    assert without.unwinding.counters()["user_table_changed"] > 0


def test_a_part_that_is_gone_has_changed(without: Target) -> None:
    body = chunk_of([(0, BOTTOM)], parts=(1,))
    assert without.by_chunk(body) == {(StackEnd.TABLE_CHANGED, 1)}


def test_rows_are_found_wherever_they_stand(without: Target) -> None:
    """One row in a full chunk decides, in the first part or in another."""
    leaf = min(stack.addresses[0] for stack in without.stacks())
    place = (leaf - LOOP_BYTES - without.code.start + without.code.offset) & 0xFFFF
    for count in (1, 2, 3, 16, 254):
        for before in {0, 1, count // 2, count - 1}:
            starts = [*range(before), place, *range(0x10000 - count + before + 1, 0x10000)]
            rows = [(start, BOTTOM if start == place else UNSUPPORTED) for start in starts]
            assert without.by_chunk(chunk_of(rows)) == {(StackEnd.COMPLETE, 1)}, (count, before)


def test_a_32_bit_process_gives_its_instruction_only(unwinding: Unwinding, readable: Path) -> None:
    flags = ("-m32", "-nostdlib", "-static", "-O1")
    path = programs.build(readable / "small", "void _start(void) { for (;;); }", *flags)
    with programs.running(path) as process:
        small = target(unwinding, process.pid, path)
        assert small.seen() == {(StackEnd.COMPAT, 1)}


STEPS = """
    .globl _start
_start: xor %ebp, %ebp
    mov $1, %eax
    mov $1, %edi
    mov %rsp, %rsi
    mov $1, %edx
    syscall
again: call outer
    jmp again
outer: push %rbp
    mov %rsp, %rbp
    mov $100, %ecx
more: call inner
    dec %ecx
    jnz more
    pop %rbp
    ret
inner: push %rbp
    mov %rsp, %rbp
    pop %rbp
    ret
"""


def test_no_caller_is_left_out_at_a_functions_first_and_last_instructions(
    unwinding: Unwinding, readable: Path
) -> None:
    """Code without rows: where the frame pointer is not set yet, or is the caller's again."""
    source = f'__asm__(R"({STEPS})");'
    path = programs.build(readable / "steps", source, "-nostdlib", "-static", "-std=gnu99")
    with started(path) as process:
        one = target(unwinding, process.pid, path)
        unwinding.load(one.code.file, everywhere(one.code, chunk_of([(0, END)])))
        found = unwinding.stacks(process.pid, 2000)
    deepest = [stack for stack in found if len(stack.addresses) == 3]
    assert {stack.end for stack in found if len(stack.addresses) > 1} == {StackEnd.COMPLETE}
    assert len({stack.addresses[0] for stack in deepest}) >= 3
    assert len({stack.addresses[1:] for stack in deepest}) == 1


def test_the_limit_of_frames_is_that_of_the_header() -> None:
    assert abi.MAX_FRAMES == 127
