# SPDX-License-Identifier: Apache-2.0
"""x86-64: registers, the expressions linkers and libcs write, PLT stubs, the signal return.

A call pushes the return address, so the CFA is the stack pointer before the call and the return
address lies 8 below. Sources: System V psABI for AMD64 §3.6, binutils' bfd/elfxx-x86.c and
elf64-x86-64.c (PLT layouts), glibc's sysdeps/unix/sysv/linux/x86_64/libc_sigaction.c.
"""

from __future__ import annotations

import re

from collector.unwind.architecture import Architecture, Patch
from collector.unwind.leb import sleb, uleb
from collector.unwind.rows import SIGNAL, UNSUPPORTED, Cfa, Rule, Saved, loaded

_SLOT = 16
_WORD = 8

_LAZY_STUB = re.compile(
    rb"\x77\x08"  # DW_OP_breg7 (rsp) 8
    rb"\x80\x00"  # DW_OP_breg16 (rip) 0
    rb"\x3f\x1a"  # DW_OP_lit15, DW_OP_and
    rb"([\x30-\x3f])\x2a"  # DW_OP_lit<byte behind the push>, DW_OP_ge
    rb"\x33\x24\x22",  # DW_OP_lit3, DW_OP_shl, DW_OP_plus
    re.DOTALL,
)
"""rsp + 8 + (pc % 16 >= the byte behind the push ? 8 : 0)."""

_SIGNAL_FRAME = b"\x77\xa0\x01\x06"
"""DW_OP_breg7 (rsp) 160, DW_OP_deref: rsp in the ucontext of a signal frame. rbp and rip lie
at rsp + 120 and rsp + 168."""

_LOADED = re.compile(
    rb"([\x76\x77])([\x80-\xff]{0,2}[\x00-\x7f])"  # DW_OP_breg6 (rbp) or breg7 (rsp), sleb
    rb"\x06"  # DW_OP_deref
    rb"(?:\x23([\x80-\xff]{0,2}[\x00-\x7f]))?",  # DW_OP_plus_uconst, uleb
    re.DOTALL,
)
"""The stack pointer of before was kept in memory. OpenSSL's assembly aligns its stack and writes
this; so does gcc where main or a vector function does, there without the last part."""

_BY_FRAME = re.compile(rb"\x76([\x80-\xff]{0,2}[\x00-\x7f])", re.DOTALL)
"""DW_OP_breg6 (rbp), sleb: where gcc keeps rbp when it aligns the stack."""

_LOADED_KINDS = {b"\x76": Cfa.FRAME_LOADED, b"\x77": Cfa.STACK_LOADED}

_ENTRY = Rule(Cfa.STACK, 8)
"""As a function is entered."""

_PUSHES = ((b"\xf3\x0f\x1e\xfa\x68", 9), (b"\x68", 5), (b"\xff\x25", 11))
"""How a stub that pushes begins, and the byte behind the push: endbr64 and push; push and
(bnd) jmp; jmp, then push."""

_HEAD = b"\xff\x35"
"""push GOT+8(%rip): the first slot of a lazy PLT, with 8 bytes more after these 6."""


def _cfa_expression(expression: bytes, in_signal_frame: bool) -> Rule:
    if in_signal_frame:
        return SIGNAL if expression == _SIGNAL_FRAME else UNSUPPORTED
    if stub := _LAZY_STUB.fullmatch(expression):
        return Rule(Cfa.PLT, stub[1][0] - 0x30)
    if load := _LOADED.fullmatch(expression):
        added = uleb(load[3], 0)[0] if load[3] else 0
        return loaded(_LOADED_KINDS[load[1]], sleb(load[2], 0)[0], added)
    return UNSUPPORTED


def _frame_expression(expression: bytes) -> int | None:
    by_frame = _BY_FRAME.fullmatch(expression)
    return sleb(by_frame[1], 0)[0] if by_frame else None


def _stub_rules(address: int, contents: bytes) -> tuple[Patch, ...]:
    """A section that begins with the head pushes in every slot; others (.plt.got, .plt.sec)
    only jump."""
    end = address + len(contents)
    if not contents.startswith(_HEAD):
        return ((address, end, _ENTRY),)
    second = contents[_SLOT : 2 * _SLOT]
    behind = next((byte for start, byte in _PUSHES if second.startswith(start)), None)
    slots = UNSUPPORTED if behind is None else Rule(Cfa.PLT, behind)
    return (
        (address, address + 6, Rule(Cfa.STACK, 2 * _WORD)),
        (address + 6, address + _SLOT, Rule(Cfa.STACK, 3 * _WORD)),
        (address + _SLOT, max(end, address + _SLOT), slots),
    )


X86_64 = Architecture(
    machine=62,
    stack_pointer=7,
    frame_pointer=6,
    return_column=16,
    others=frozenset(range(16)) - {6, 7},
    return_offset=-_WORD,
    alignment=16,
    entry=_ENTRY,
    frame_rule=Rule(Cfa.FRAME, 2 * _WORD, Saved.AT, -2 * _WORD),
    cfa_expression=_cfa_expression,
    frame_expression=_frame_expression,
    stub_rules=_stub_rules,
    trampoline=bytes.fromhex("48c7c00f000000 0f05"),  # mov $15, %rax; syscall
)
