# SPDX-License-Identifier: Apache-2.0
"""Call frame programs: DWARF's byte code that says how a function's frame changes (DWARF 5 §6.4.2).

Of all registers only three are followed: what the CFA is made of, the frame pointer and the
return address. A program runs in one pass, each instruction takes at least a byte, and states
remembered are few, so time and memory follow the number of bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from collector.elf.source import ElfError
from collector.unwind.architecture import Architecture
from collector.unwind.entries import Cie
from collector.unwind.leb import sleb, uleb
from collector.unwind.rows import (
    BOTTOM,
    UNSUPPORTED,
    UNSUPPORTED_ID,
    Cfa,
    Rule,
    Rules,
    Saved,
    loaded,
)

_MAX_REMEMBERED = 16
"""Compilers nest one or two."""

_MAX_STATES = 1 << 16
"""Rows of one function."""

_MAX_BYTES = 1 << 24
"""Of all programs of a file that are run; node's whole section has 2.7 MiB. An instruction takes
about half a microsecond."""

_SAME = 1 << 200
_UNDEFINED = _SAME + 1
_ELSEWHERE = _SAME + 2
_BY_FRAME = _SAME << 1
"""Where a register is saved, when not at an offset from the CFA; around the last, at an offset
from the frame pointer. No offset is as large: two numbers of 70 bits make it."""

StepRow = tuple[int, int]
"""Bytes from the start of the function, and the number of the rule from there on."""


class _State(NamedTuple):
    """What one row says. `register` is -1 where an expression makes the CFA."""

    register: int
    offset: int
    expression: bytes
    frame: int
    returns: int


_INITIAL = _State(-1, 0, b"", _SAME, _SAME)

_LEB = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_STEP = re.compile(
    rb"((?:[\x80-\xbf]" + _LEB + rb"|[\xc0-\xff\x00\x0a\x0b]"
    rb"|[\x06\x07\x08\x0d\x0e\x13\x2e]" + _LEB + rb"|[\x05\x0c\x11\x12](?:" + _LEB + rb"){2})*+)"
    rb"([\x40-\x7f]|\x02.|\x03..|\x04....|\Z|.)",
    re.DOTALL,
)
"""Instructions that are most of all programs, and one that advances, or is none of these."""

_ADVANCES = {bytes([0x40 | step]): step for step in range(0x40)}
_ADVANCE_CODES = (2, 3, 4)

_MAX_KNOWN = 1 << 16
_MAX_SHORT = 1 << 10
"""Programs beyond it run instruction by instruction; compilers' have 30 bytes."""


class _Known:
    """A place in programs: what holds, and what does after some instructions. Functions do the same
    few things again and again."""

    __slots__ = ("cie", "following", "number", "remembered", "state")

    def __init__(
        self, cie: Cie, state: _State, remembered: tuple[_State, ...], number: int
    ) -> None:
        self.cie = cie
        self.state = state
        self.remembered = remembered
        self.number = number
        self.following: dict[bytes, _Known] = {}


class Interpreter:
    """Runs the programs of one file; what was run before is looked up."""

    def __init__(self, architecture: Architecture, rules: Rules) -> None:
        self._architecture = architecture
        self._rules = rules
        self._initial: dict[Cie, _State | None] = {}
        self._known: dict[tuple[Cie, _State, tuple[_State, ...]], _Known] = {}
        self._followed = 0
        self._numbers: dict[tuple[_State, bool], int] = {}
        self._bytes = 0

    def steps(self, cie: Cie, program: bytes) -> list[StepRow]:
        """Rows of a function from offset 0 on, offsets ascending, neighbours different.

        From an instruction that cannot be read on, the function is unsupported. Raises ElfError
        when the programs of this file were too long altogether.
        """
        self._bytes += len(program)
        if self._bytes > _MAX_BYTES:
            raise ElfError("too many bytes of call frame programs")
        if cie not in self._initial:
            self._initial[cie] = self._run_cie(cie)
        initial = self._initial[cie]
        if initial is None:
            return [(0, UNSUPPORTED_ID)]
        if len(program) <= _MAX_SHORT:
            rows = self._looked_up(self._place(cie, initial, ()), program)
            if rows is not None:
                return rows
        return self._run(cie, program, initial)

    def _looked_up(self, place: _Known | None, program: bytes) -> list[StepRow] | None:
        """None for a program with something that is not looked up."""
        rows: list[StepRow] = []
        location, last = 0, -1
        for instructions, advance in _STEP.findall(program):
            if instructions and place is not None:
                place = place.following.get(instructions) or self._follow(place, instructions)
            if place is None:
                return None
            if place.number != last:
                if rows and rows[-1][0] == location:
                    rows.pop()
                if not rows or rows[-1][1] != place.number:
                    rows.append((location, place.number))
                last = place.number
            if not advance:
                return rows
            step = _ADVANCES.get(advance)
            if step is None:
                if advance[0] not in _ADVANCE_CODES or len(advance) == 1:
                    return None
                step = int.from_bytes(advance[1:], "little")
            location += step * place.cie.code_alignment
        return rows

    def _follow(self, place: _Known, instructions: bytes) -> _Known | None:
        """What holds after the instructions, which do not advance; None where they are broken."""
        initial = self._initial[place.cie]
        assert initial is not None
        run = _Run(place.cie, instructions, self._architecture, initial)
        run.go_on_from(place.state, place.remembered)
        states = run.states()
        if run.broken:
            return None
        found = self._place(place.cie, states[-1][1], run.remembered)
        if found is not None and self._followed < _MAX_KNOWN:
            self._followed += 1
            place.following[instructions] = found
        return found

    def _place(self, cie: Cie, state: _State, remembered: tuple[_State, ...]) -> _Known | None:
        """None when too many are known."""
        key = (cie, state, remembered)
        found = self._known.get(key)
        if found is None and len(self._known) < _MAX_KNOWN:
            found = _Known(cie, state, remembered, self._number(state, cie.signal))
            self._known[key] = found
        return found

    def _run(self, cie: Cie, program: bytes, initial: _State) -> list[StepRow]:
        """Instruction by instruction."""
        run = _Run(cie, program, self._architecture, initial)
        states = run.states()
        rows = [(offset, self._number(state, cie.signal)) for offset, state in states]
        if run.broken:
            rows.append((run.location, UNSUPPORTED_ID))
        return rows

    def _run_cie(self, cie: Cie) -> _State | None:
        run = _Run(cie, cie.program, self._architecture, _INITIAL)
        states = run.states()
        if run.broken or len(states) != 1 or cie.return_column != self._architecture.return_column:
            return None
        return states[0][1]

    def _number(self, state: _State, signal: bool) -> int:
        key = (state, signal)
        number = self._numbers.get(key)
        if number is None:
            number = self._rules.number(_rule(state, signal, self._architecture))
            if len(self._numbers) < 1 << 16:
                self._numbers[key] = number
        return number


def _rule(state: _State, signal: bool, architecture: Architecture) -> Rule:
    if state.returns == _UNDEFINED:
        return BOTTOM
    if signal:
        return architecture.cfa_expression(state.expression, True)
    kind = {architecture.stack_pointer: Cfa.STACK, architecture.frame_pointer: Cfa.FRAME}
    if state.returns != architecture.return_offset:
        return UNSUPPORTED
    if state.register < 0:
        rule = architecture.cfa_expression(state.expression, False)
    elif state.register in kind:
        rule = Rule(kind[state.register], state.offset)
    elif state.register in architecture.others:
        rule = loaded(Cfa.REGISTER, state.register, state.offset)
    else:
        return UNSUPPORTED
    if rule.cfa == Cfa.UNSUPPORTED:
        return UNSUPPORTED
    return Rule(rule.cfa, rule.offset, *_saved(state.frame))


def _saved(frame: int) -> tuple[Saved, int]:
    if frame == _SAME:
        return Saved.SAME, 0
    if frame in (_UNDEFINED, _ELSEWHERE):
        return Saved.LOST, 0
    if frame > _ELSEWHERE:
        return Saved.AT_FRAME, frame - _BY_FRAME
    return Saved.AT, frame


class _Run:
    """One run of one program; `location` is in bytes from the start of the function."""

    __slots__ = (
        "_architecture", "_at", "_cie", "_expression", "_frame", "_initial", "_offset",
        "_program", "_register", "_remembered", "_returns", "_states", "broken", "location",
    )  # fmt: skip

    def __init__(
        self, cie: Cie, program: bytes, architecture: Architecture, initial: _State
    ) -> None:
        self._cie = cie
        self._program = program
        self._architecture = architecture
        self._initial = initial
        self._remembered: list[_State] = []
        self._states: list[tuple[int, _State]] = []
        self._at = 0
        self._set(initial)
        self.location = 0
        self.broken = False

    def go_on_from(self, state: _State, remembered: tuple[_State, ...]) -> None:
        self._set(state)
        self._remembered = list(remembered)

    @property
    def remembered(self) -> tuple[_State, ...]:
        return tuple(self._remembered)

    def states(self) -> list[tuple[int, _State]]:
        """What holds from which offset on; `broken` tells whether the end was reached."""
        end = len(self._program)
        try:
            while self._at < end:
                self._step()
        except (IndexError, ElfError):
            self.broken = True
        self._close()
        return self._states

    def _step(self) -> None:
        code = self._program[self._at]
        self._at += 1
        operation = code & 0xC0
        if operation == 0x40:
            self._advance(code & 0x3F)
        elif operation == 0x80:
            self._save(code & 0x3F, self._unsigned() * self._cie.data_alignment)
        elif operation == 0xC0:
            self._restore(code & 0x3F)
        elif code:
            handler = _HANDLERS.get(code)
            if handler is None:
                raise ElfError(f"call frame instruction {code:#x}")
            handler(self)

    def _close(self) -> None:
        """The row that ends here. An empty one, or one like its neighbour, is none."""
        state = _State(self._register, self._offset, self._expression, self._frame, self._returns)
        states = self._states
        if states and states[-1][0] == self.location:
            states.pop()
        if not states or states[-1][1] != state:
            states.append((self.location, state))

    def _advance(self, steps: int) -> None:
        if len(self._states) == _MAX_STATES:
            raise ElfError("too many rows of one function")
        self._close()
        self.location += steps * self._cie.code_alignment

    def _advance_by(self, size: int) -> None:
        operand = self._program[self._at : self._at + size]
        if len(operand) < size:
            raise ElfError("a call frame program ends within an instruction")
        self._at += size
        self._advance(int.from_bytes(operand, "little"))

    def _unsigned(self) -> int:
        value, self._at = uleb(self._program, self._at)
        return value

    def _scaled(self) -> int:
        value, self._at = sleb(self._program, self._at)
        return value * self._cie.data_alignment

    def _block(self) -> bytes:
        size = self._unsigned()
        block = self._program[self._at : self._at + size]
        if len(block) < size:
            raise ElfError("a call frame program ends within an expression")
        self._at += size
        return block

    def _save(self, register: int, place: int) -> None:
        if register == self._architecture.frame_pointer:
            self._frame = place
        elif register == self._architecture.return_column:
            self._returns = place

    def _save_scaled(self) -> None:
        register = self._unsigned()
        self._save(register, self._scaled())

    def _save_elsewhere(self, skip: Callable[[_Run], object]) -> None:
        register = self._unsigned()
        skip(self)
        self._save(register, _ELSEWHERE)

    def _save_by_expression(self) -> None:
        register = self._unsigned()
        place = self._architecture.frame_expression(self._block())
        self._save(register, _ELSEWHERE if place is None else _BY_FRAME + place)

    def _restore(self, register: int) -> None:
        if register == self._architecture.frame_pointer:
            self._frame = self._initial.frame
        elif register == self._architecture.return_column:
            self._returns = self._initial.returns

    def _define(self, register: int, offset: int) -> None:
        self._register, self._offset, self._expression = register, offset, b""

    def _define_scaled(self) -> None:
        register = self._unsigned()
        self._define(register, self._scaled())

    def _define_part(self, *, register: int | None = None, offset: int | None = None) -> None:
        """Changes half of a CFA that is a register and an offset."""
        if self._register < 0:
            raise ElfError("the CFA is an expression")
        self._register = self._register if register is None else register
        self._offset = self._offset if offset is None else offset

    def _define_expression(self) -> None:
        self._register, self._offset, self._expression = -1, 0, self._block()

    def _remember(self) -> None:
        if len(self._remembered) == _MAX_REMEMBERED:
            raise ElfError("too many states remembered")
        self._remembered.append(
            _State(self._register, self._offset, self._expression, self._frame, self._returns)
        )

    def _recall(self) -> None:
        self._set(self._remembered.pop())

    def _set(self, state: _State) -> None:
        self._register, self._offset, self._expression, self._frame, self._returns = state


_HANDLERS: dict[int, Callable[[_Run], None]] = {
    0x02: lambda run: run._advance_by(1),
    0x03: lambda run: run._advance_by(2),
    0x04: lambda run: run._advance_by(4),
    0x05: lambda run: run._save(run._unsigned(), run._unsigned() * run._cie.data_alignment),
    0x06: lambda run: run._restore(run._unsigned()),
    0x07: lambda run: run._save(run._unsigned(), _UNDEFINED),
    0x08: lambda run: run._save(run._unsigned(), _SAME),
    0x09: lambda run: run._save_elsewhere(_Run._unsigned),  # in another register
    0x0A: _Run._remember,
    0x0B: _Run._recall,
    0x0C: lambda run: run._define(run._unsigned(), run._unsigned()),
    0x0D: lambda run: run._define_part(register=run._unsigned()),
    0x0E: lambda run: run._define_part(offset=run._unsigned()),
    0x0F: _Run._define_expression,
    0x10: _Run._save_by_expression,
    0x11: _Run._save_scaled,
    0x12: _Run._define_scaled,
    0x13: lambda run: run._define_part(offset=run._scaled()),
    0x14: lambda run: run._save_elsewhere(_Run._unsigned),  # is CFA + offset
    0x15: lambda run: run._save_elsewhere(_Run._scaled),
    0x16: lambda run: run._save_elsewhere(_Run._block),
    0x2E: lambda run: (run._unsigned(), None)[1],  # DW_CFA_GNU_args_size
}
"""By instruction. DW_CFA_set_loc (0x01) is written by nobody for these architectures."""
