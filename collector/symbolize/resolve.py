# SPDX-License-Identifier: Apache-2.0
"""Stacks to frames: kernel offsets by the kernel's symbols, user addresses by their mappings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from collector.model import Executable, Frame, Mapping, Stack, StackEnd
from collector.symbolize.kernel import KernelSymbols

KERNEL = Executable("[kernel.kallsyms]", "")
NOWHERE = {
    StackEnd.UNMAPPED_PROCESS: Executable("[not mapped yet]", ""),
    StackEnd.OUTSIDE_MAPPINGS: Executable("[outside executable mappings]", ""),
    StackEnd.UNREADABLE: Executable("[unreadable stack]", ""),
}
ENDS = {
    end: Frame(Executable(f"[stack ends: {reason}]", ""), 0, "")
    for end, reason in {
        StackEnd.TRUNCATED: "more than 127 frames",
        StackEnd.OUTSIDE_MAPPINGS: "outside executable mappings",
        StackEnd.UNMAPPED_PROCESS: "not mapped yet",
        StackEnd.UNREADABLE: "unreadable stack",
        StackEnd.BAD_FRAME_POINTER: "bad frame pointer",
        StackEnd.NO_TABLE: "no unwind table",
        StackEnd.UNSUPPORTED_ROW: "unsupported unwind row",
        StackEnd.TABLE_CHANGED: "unwind table changed",
        StackEnd.STUCK: "caller not above",
        StackEnd.LOST_FRAME_POINTER: "frame pointer lost",
        StackEnd.COMPAT: "32-bit process",
    }.items()
}
"""Below the root of a stack that does not reach its bottom; docs/data.md says what each means."""

EXITED = Frame(Executable("[exited]", ""), 0, "")
GONE = Frame(Executable("[unmapped since]", ""), 0, "")
MOST_KERNEL_FRAMES = 32768

Find = Callable[[int], Mapping | None]


class UserFrames(Protocol):
    """What is asked of collector.symbolize.user.Executables."""

    def frames(self, mapping: Mapping, pcs: Iterable[int]) -> dict[int, Frame]: ...


class KernelFrames:
    """Frames of kernel offsets, remembered; the address is left out, the name is the frame."""

    def __init__(self, symbols: KernelSymbols) -> None:
        self._symbols = symbols
        self._known: dict[int, Frame] = {}

    def frames(self, stack: Stack) -> tuple[Frame, ...]:
        leaf, *callers = stack.addresses
        return (self._frame(leaf), *(self._frame(offset - 1) for offset in callers))

    def _frame(self, offset: int) -> Frame:
        frame = self._known.get(offset)
        if frame is None:
            function, module = self._symbols.resolve(offset) or ("", "")
            filename = "vmlinux" if module in ("", "vmlinux") else f"[{module}]"
            frame = Frame(KERNEL, 0, function or "[unknown kernel function]", filename)
            if len(self._known) >= MOST_KERNEL_FRAMES:
                self._known.clear()
            self._known[offset] = frame
        return frame


def lookup_addresses(stack: Stack) -> tuple[int, ...]:
    """Where to look for each frame: a caller's return address minus one lies in its call."""
    leaf, *callers = stack.addresses or (0,)
    return (leaf, *(address - 1 for address in callers)) if stack.addresses else ()


def process_frames(
    find: Find | None, stacks: Iterable[Stack], user: UserFrames
) -> dict[int, Frame]:
    """A frame for each looked-up address of one process's user stacks.

    `find` is None when the process ended before its mappings could be read.
    """
    addresses = {address for stack in stacks for address in lookup_addresses(stack)}
    if find is None:
        return dict.fromkeys(addresses, EXITED)
    by_mapping: dict[Mapping, list[int]] = {}
    frames: dict[int, Frame] = {}
    for address in addresses:
        mapping = find(address)
        if mapping is None:
            frames[address] = GONE
        else:
            by_mapping.setdefault(mapping, []).append(address)
    for mapping, pcs in by_mapping.items():
        frames |= user.frames(mapping, pcs)
    return frames


def user_stack(stack: Stack, frames: dict[int, Frame]) -> tuple[Frame, ...]:
    """The frames of a user stack. One without addresses says why instead; one that does not reach
    its bottom has one frame more, which says why."""
    if not stack.addresses:
        return (Frame(NOWHERE.get(stack.end, NOWHERE[StackEnd.UNREADABLE]), 0, ""),)
    found = tuple(frames[address] for address in lookup_addresses(stack))
    return (*found, ENDS[stack.end]) if stack.end in ENDS else found
