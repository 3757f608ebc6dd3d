# SPDX-License-Identifier: Apache-2.0
"""What an architecture has to say; each has one file that makes one of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from collector.unwind.rows import Rule

Patch = tuple[int, int, Rule]
"""A rule for the addresses from the first up to, not including, the second."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Register numbers are DWARF's."""

    machine: int
    """e_machine of ELF files."""

    stack_pointer: int
    frame_pointer: int
    return_column: int

    others: frozenset[int]
    """Registers that the kernel side has of the leaf."""

    return_offset: int
    """Where the return address lies, from the CFA. A function that keeps it elsewhere is
    unsupported as a whole."""

    alignment: int
    """Of functions: a gap shorter than this, up to a multiple of it, is padding."""

    entry: Rule
    """Of a function as it is entered."""

    frame_rule: Rule
    """Of a function that keeps a frame pointer, once it is set."""

    cfa_expression: Callable[[bytes, bool], Rule]
    """The rule for a DWARF expression of the CFA; the flag says that it is a signal frame's."""

    frame_expression: Callable[[bytes], int | None]
    """The offset n where a DWARF expression is the frame pointer + n; None for any other."""

    stub_rules: Callable[[int, bytes], tuple[Patch, ...]]
    """Rules of a PLT section without CFI, by its address and contents."""

    trampoline: bytes
    """The code a signal handler returns to."""
