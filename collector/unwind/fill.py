# SPDX-License-Identifier: Apache-2.0
"""Rules for code that no CFI describes: PLT stubs, the signal return, bottoms, Go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from heapq import nlargest

from collector.elf.source import ElfError
from collector.unwind import landmarks
from collector.unwind.architecture import Architecture, Patch
from collector.unwind.go import go_functions
from collector.unwind.image import ADDRESS_LIMIT, Image
from collector.unwind.rows import BOTTOM, SIGNAL, SWITCHED, Rule

_STUBS = (b".plt", b".plt.sec", b".plt.got", b".plt.bnd", b".iplt")
_GO_TABLES = (b".gopclntab", b".data.rel.ro.gopclntab")
# mcall and morestack go over to the scheduler's stack, with no frame pointer, and never return
_GO_RULES = {
    b"runtime.goexit": BOTTOM,
    b"runtime.mstart": BOTTOM,
    b"runtime.mcall": BOTTOM,
    b"runtime.morestack": BOTTOM,
    b"runtime.systemstack": SWITCHED,
    b"runtime.asmcgocall": SWITCHED,
    b"runtime.sigreturn": SIGNAL,
    b"runtime.sigreturn__sigaction": SIGNAL,
}

_UNSIZED = 64
"""Bytes taken for a bottom that tells no size; a libc's _start is shorter."""

_MAX_GAPS = 4096
"""node has 400. Filling one gap passes over all."""

_MAX_RETURNS = 16

_Range = tuple[int, int]


class Gaps:
    """Addresses without a rule so far, and the patches made of them."""

    def __init__(self, free: Iterable[_Range]) -> None:
        """Of very many gaps only the largest are kept."""
        self._free = nlargest(_MAX_GAPS, free, key=lambda gap: gap[1] - gap[0])
        self.patches: list[Patch] = []

    def fill(self, start: int, end: int, rule: Rule) -> None:
        """Gives the rule to what is free between two addresses."""
        left: list[_Range] = []
        for low, high in self._free:
            first, last = max(low, start), min(high, end)
            if first >= last:
                left.append((low, high))
                continue
            self.patches.append((first, last, rule))
            left += [piece for piece in ((low, first), (last, high)) if piece[0] < piece[1]]
        self._free = left

    def free(self, start: int, end: int) -> list[_Range]:
        """What is free between two addresses."""
        cut = ((max(low, start), min(high, end)) for low, high in self._free)
        return [piece for piece in cut if piece[0] < piece[1]]

    def covers(self, address: int) -> bool:
        return bool(self.free(address, address + 1))


def fill_gaps(image: Image, architecture: Architecture, gaps: Gaps) -> None:
    """All that is known of code without CFI. What cannot be read of the file is left out."""
    for step in (_stubs, _signal_returns, _bottoms, _go_text):
        with contextlib.suppress(ElfError):
            step(image, architecture, gaps)


def certain(image: Image) -> list[Patch]:
    """What is known better than CFI says it: Go's runtime."""
    with contextlib.suppress(ElfError):
        return list(_go_runtime(image))
    return []


def _stubs(image: Image, architecture: Architecture, gaps: Gaps) -> None:
    for name in _STUBS:
        section = image.sections.get(name)
        if section is None or not gaps.free(section.address, section.address + section.size):
            continue
        for start, end, rule in architecture.stub_rules(section.address, image.contents(section)):
            gaps.fill(start, end, rule)


def _signal_returns(image: Image, architecture: Architecture, gaps: Gaps) -> None:
    """Also the byte before: who unwinds looks up the byte before a return address."""
    code = architecture.trampoline
    found = 0
    for start, end in gaps.free(0, ADDRESS_LIMIT):
        for place in landmarks.occurrences(image.source, code, image.offset(start), end - start):
            gaps.fill(start + place - 1, start + place + len(code), SIGNAL)
            found += 1
            if found == _MAX_RETURNS:
                return


def _bottoms(image: Image, architecture: Architecture, gaps: Gaps) -> None:
    """By name, and where a program or the dynamic linker is entered, named or not."""
    if not image.entry or not gaps.covers(image.entry):
        return
    for start, end in landmarks.named(image, landmarks.BOTTOMS):
        gaps.fill(start, end if end > start else start + _UNSIZED, BOTTOM)
    if gaps.covers(image.entry) and (image.program or _entered(image)):
        gaps.fill(image.entry, image.entry + _UNSIZED, BOTTOM)


def _entered(image: Image) -> bool:
    """Whether a library has an entry of its own; old linkers name the start of .text."""
    text = image.sections.get(b".text")
    return text is not None and image.entry != text.address


def _go_text(image: Image, architecture: Architecture, gaps: Gaps) -> None:
    """Go's compiler keeps frame pointers on every architecture that is read here."""
    text = image.sections.get(b".text")
    if text is not None and is_go(image):
        gaps.fill(text.address, text.address + text.size, architecture.frame_rule)


def is_go(image: Image) -> bool:
    return any(name in image.sections for name in _GO_TABLES)


def _go_runtime(image: Image) -> Iterator[Patch]:
    text = image.sections.get(b".text")
    for name in _GO_TABLES:
        section = image.sections.get(name)
        if section is not None and text is not None:
            table = image.contents(section)
            found = go_functions(table, frozenset(_GO_RULES), text.address)
            for function, (start, end) in found.items():
                rule = _GO_RULES[function]
                yield start - (rule == SIGNAL and start > 0), end, rule
