# SPDX-License-Identifier: Apache-2.0
"""An ELF file's call frame information as a table of unwind rows.

    headers -> CFI section -> functions with rows -> reachable, ordered, expanded, merged
    -> gaps filled -> merged -> table

Pure: a source gives a table or ElfError. Memory follows the size of the CFI section, of which
MAX_CONTENTS is read; time is a few microseconds a function, counted functions and rows are capped,
and whoever calls sets a deadline for the rest.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace

from collector.elf.source import ElfError, Source
from collector.unwind import passes
from collector.unwind.architecture import Architecture, Patch
from collector.unwind.entries import FrameSection
from collector.unwind.fill import Gaps, certain, fill_gaps, is_go
from collector.unwind.frames import Frames, read_frames
from collector.unwind.image import (
    ADDRESS_LIMIT,
    MAX_CONTENTS,
    Image,
    Segment,
    apart,
    read_image,
)
from collector.unwind.rows import BOTTOM, CLONED, Cfa, IdRow, Rules, Saved, Table, table_of
from collector.unwind.x86_64 import X86_64

ARCHITECTURES = {architecture.machine: architecture for architecture in (X86_64,)}

_EH_FRAME_POINTER = 0x1B
"""DW_EH_PE_pcrel | DW_EH_PE_sdata4: how linkers write where .eh_frame is."""


def unwind_table(source: Source) -> Table:
    """Rows in virtual addresses of the file; none when it says nothing. Raises ElfError."""
    image = read_image(source)
    architecture = ARCHITECTURES.get(image.machine)
    if architecture is None:
        raise ElfError(f"machine {image.machine}")
    rules = Rules()
    frames, refused, debug = _frames(image, architecture, rules)
    order = passes.ordered(frames, passes.reachable(frames, image.code()))
    expanded = passes.expanded(frames, order, architecture.alignment)
    if debug and is_go(image):
        expanded = passes.replaced(expanded, _with_frame_pointers(architecture, rules))
    rows = _Kept(passes.merged(expanded))
    gaps = Gaps(passes.common(passes.gaps(rows, 2 * ADDRESS_LIMIT), image.code()))
    for start, end in passes.clones(rows, rules.number(architecture.entry), architecture.alignment):
        gaps.fill(start, end, CLONED)
    fill_gaps(image, architecture, gaps)
    filled = passes.patched(rows, _numbered(gaps.patches, rules))
    known = _numbered([*_entry(image, frames, order), *certain(image)], rules)
    return table_of(passes.merged(passes.patched(filled, known)), rules, refused)


def _with_frame_pointers(architecture: Architecture, rules: Rules) -> dict[int, int]:
    """What Go's compiler does and its .debug_frame leaves out: a function with a frame keeps its
    caller's frame pointer. By number of a rule."""
    frame = architecture.frame_rule
    kept = {}
    for number, rule in enumerate(rules.all()):
        if rule.cfa == Cfa.STACK and rule.frame == Saved.SAME and rule.offset >= frame.offset:
            with_frame = replace(rule, frame=frame.frame, frame_offset=frame.frame_offset)
            kept[number] = rules.number(with_frame)
    return kept


class _Kept:
    """Rows that are passed over more than once, in flat arrays."""

    def __init__(self, rows: Iterable[IdRow]) -> None:
        self._addresses, self._numbers = array("Q"), array("H")
        for address, number in rows:
            self._addresses.append(address)
            self._numbers.append(number)

    def __iter__(self) -> Iterator[IdRow]:
        return zip(self._addresses, self._numbers, strict=True)


def _frames(image: Image, architecture: Architecture, rules: Rules) -> tuple[Frames, int, bool]:
    """Of .eh_frame; of .debug_frame where that has no function: then the last is true."""
    frames, refused, debug = Frames(), 0, False
    for section in _frame_sections(image):
        frames, refused = read_frames(section, architecture, rules)
        debug = section.debug
        if frames.starts:
            break
    return frames, refused, debug


def _frame_sections(image: Image) -> Iterator[FrameSection]:
    eh_frame, debug_frame = (image.sections.get(name) for name in (b".eh_frame", b".debug_frame"))
    if eh_frame is not None:
        yield FrameSection(image.contents(eh_frame), eh_frame.address)
    elif not image.sections and image.unwind_header() is not None:
        yield _without_sections(image)
    if debug_frame is not None:
        yield FrameSection(image.contents(debug_frame), debug_frame.address, debug=True)


def _without_sections(image: Image) -> FrameSection:
    header = image.unwind_header()
    assert header is not None
    address, size = unwind_frames(image, header)
    return FrameSection(image.source.read_at(image.offset(address), size), address, terminated=True)


def unwind_frames(image: Image, header: Segment) -> tuple[int, int]:
    """Address of .eh_frame and bytes up to the end of its segment, by the header that the program
    itself uses to find it. Raises ElfError."""
    data = image.source.read_at(header.offset, 8)
    if data[0] != 1 or data[1] != _EH_FRAME_POINTER:
        raise ElfError("an unwind header of unknown layout")
    address = header.address + 4 + int.from_bytes(data[4:8], "little", signed=True)
    segment = image.loaded(address)
    return address, min(segment.address + segment.size - address, MAX_CONTENTS)


def _entry(image: Image, frames: Frames, order: list[int]) -> Iterator[Patch]:
    """The function a process begins with, where CFI has it."""
    for index in order if image.program else ():
        start = frames.starts[index]
        if start <= image.entry < start + frames.sizes[index]:
            yield start, start + frames.sizes[index], BOTTOM


def _numbered(patches: Iterable[Patch], rules: Rules) -> list[passes.NumberedPatch]:
    """Ascending; of two that overlap the first."""
    numbers = {(low, high): rules.number(rule) for low, high, rule in patches}
    return [(low, high, numbers[low, high]) for low, high in apart(sorted(numbers))]
