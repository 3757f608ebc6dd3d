# SPDX-License-Identifier: Apache-2.0
"""All functions of a section with their rows, in flat arrays."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from collector.elf.source import ElfError
from collector.unwind.architecture import Architecture
from collector.unwind.entries import MAX_SIZE, Cie, FrameReader, FrameSection
from collector.unwind.program import Interpreter
from collector.unwind.rows import MAX_ROWS, Rules

MAX_FDES = 1 << 20
"""Functions of one file; node has 76,000."""

_MAX_SHARED = 1 << 16
_MAX_SHARED_BYTES = 64
"""Programs that are kept to be recognised; most are short and come again and again."""


def _longs() -> array[int]:
    return array("Q")


def _words() -> array[int]:
    return array("I")


def _numbers() -> array[int]:
    return array("H")


@dataclass(frozen=True, slots=True)
class Frames:
    """Function i begins at starts[i], is sizes[i] bytes long and has program programs[i].

    Rows of program p are steps[bounds[p]:bounds[p + 1]], bytes from the function's start, with
    the rules `numbers` there. Functions stand in the file's order and may overlap.
    """

    starts: array[int] = field(default_factory=_longs)
    sizes: array[int] = field(default_factory=_words)
    programs: array[int] = field(default_factory=_words)
    bounds: array[int] = field(default_factory=lambda: array("I", [0]))
    steps: array[int] = field(default_factory=_words)
    numbers: array[int] = field(default_factory=_numbers)

    def rows_of(self, index: int) -> range:
        """Where in steps and numbers the rows of a function stand."""
        program = self.programs[index]
        return range(self.bounds[program], self.bounds[program + 1])


def read_frames(
    section: FrameSection, architecture: Architecture, rules: Rules
) -> tuple[Frames, int]:
    """Functions, and how many were refused. Raises ElfError for a damaged or too large section."""
    frames = Frames()
    interpreter = Interpreter(architecture, rules)
    reader = FrameReader(section)
    shared: dict[tuple[Cie, bytes], int] = {}
    rows = 0
    for fde in reader.fdes():
        key = (fde.cie, fde.program)
        program = shared.get(key)
        if program is None:
            program = _append(frames, interpreter, fde.cie, fde.program)
            if len(fde.program) <= _MAX_SHARED_BYTES and len(shared) < _MAX_SHARED:
                shared[key] = program
        frames.starts.append(fde.start)
        frames.sizes.append(fde.size)
        frames.programs.append(program)
        rows += len(frames.rows_of(len(frames.starts) - 1))
        if rows > MAX_ROWS or len(frames.starts) > MAX_FDES:
            raise ElfError("too many functions or rows of call frame information")
    return frames, reader.refused


def _append(frames: Frames, interpreter: Interpreter, cie: Cie, program: bytes) -> int:
    """The number of the program, which was run."""
    for step, number in interpreter.steps(cie, program):
        frames.steps.append(min(step, MAX_SIZE))
        frames.numbers.append(number)
    frames.bounds.append(len(frames.steps))
    return len(frames.bounds) - 2
