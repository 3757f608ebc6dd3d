# SPDX-License-Identifier: Apache-2.0
"""Stacks to frames, with real kernel symbols' format and a mapping table made by hand."""

from pathlib import Path

from collector.model import Executable, Frame, Mapping, MappingFlag, Stack, StackEnd
from collector.symbolize import resolve
from collector.symbolize.kernel import KernelSymbols

BINARY = Executable("/bin/a", "ab")
MAPPING = Mapping(0x1000, 0x2000, 0, 1, 1, 0xEF53, MappingFlag(0), "/bin/a")


class Echo:
    """Stands for collector.symbolize.user.Executables: names each pc after itself."""

    def frames(self, mapping, pcs):
        assert mapping is MAPPING
        return {pc: Frame(BINARY, pc, hex(pc)) for pc in pcs}


def find(address):
    return MAPPING if MAPPING.start <= address < MAPPING.end else None


def frames_of(stack, find=find):
    frames = resolve.process_frames(find, [stack], Echo())
    return resolve.user_stack(stack, frames)


def test_callers_are_looked_up_inside_their_call():
    stack = Stack((0x1100, 0x1200, 0x2000), StackEnd.COMPLETE)
    assert [frame.address for frame in frames_of(stack)] == [0x1100, 0x11FF, 0x1FFF]


def test_an_address_outside_all_mappings_keeps_the_stack_whole():
    stack = Stack((0x1100, 0x9000), StackEnd.COMPLETE)
    assert frames_of(stack)[1] is resolve.GONE


def test_a_process_that_ended_unseen_gives_no_address():
    stack = Stack((0x1100, 0x1200), StackEnd.COMPLETE)
    assert frames_of(stack, find=None) == (resolve.EXITED, resolve.EXITED)


def test_a_stack_without_addresses_says_why():
    for end in (StackEnd.UNMAPPED_PROCESS, StackEnd.OUTSIDE_MAPPINGS, StackEnd.UNREADABLE):
        (frame,) = frames_of(Stack((), end))
        assert frame.executable.name.startswith("[")
        assert frame.address == 0


def test_a_stack_cut_short_says_why_at_its_root():
    """Every end but the two that are none has words of its own."""
    names = set()
    for end in set(StackEnd) - {StackEnd.COMPLETE, StackEnd.KERNEL}:
        leaf, root = frames_of(Stack((0x1100,), end))
        assert leaf.address == 0x1100
        assert root.executable.name.startswith("[stack ends: ")
        assert (root.executable.build_id, root.address, root.function) == ("", 0, "")
        names.add(root.executable.name)
        page = Path(resolve.__file__).parents[2] / "docs/data.md"
        assert f"`{root.executable.name[13:-1]}`" in page.read_text()
    assert len(names) == len(StackEnd) - 2
    assert len(frames_of(Stack((0x1100, 0x1200), StackEnd.COMPLETE))) == 2


def test_kernel_frames_have_names_and_no_address():
    symbols = KernelSymbols.parse(
        b"0 T first [vmlinux]\n16 T second [vmlinux]\n4096 t mod [ext4]\n"
    )
    kernel = resolve.KernelFrames(symbols)
    frames = kernel.frames(Stack((4, 16, 4100), StackEnd.KERNEL))
    assert [frame.function for frame in frames] == ["first", "first", "mod"]
    assert [frame.filename for frame in frames] == ["vmlinux", "vmlinux", "[ext4]"]
    assert {frame.address for frame in frames} == {0}


def test_an_unknown_kernel_function_is_named_so():
    kernel = resolve.KernelFrames(KernelSymbols.parse(b""))
    (frame,) = kernel.frames(Stack((-5,), StackEnd.KERNEL))
    assert frame.function == "[unknown kernel function]"
