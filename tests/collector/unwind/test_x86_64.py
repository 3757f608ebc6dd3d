# SPDX-License-Identifier: Apache-2.0
"""What is peculiar to x86-64."""

from __future__ import annotations

import pytest

from collector.unwind.rows import UNSUPPORTED, Cfa, Rule, loaded
from collector.unwind.x86_64 import X86_64

LAZY = bytes.fromhex("77 08 80 00 3f 1a 3b 2a 33 24 22")
HEAD = bytes.fromhex("ff 35 e2 2f 00 00 ff 25 e4 2f 00 00 0f 1f 40 00")
ENTRY = Rule(Cfa.STACK, 8)


@pytest.mark.parametrize("behind", [5, 9, 10, 11])
def test_lazy_stubs_are_known_by_their_expression(behind):
    expression = LAZY[:6] + bytes([0x30 + behind]) + LAZY[7:]
    assert X86_64.cfa_expression(expression, False) == Rule(Cfa.PLT, behind)


@pytest.mark.parametrize(
    ("expression", "rule"),
    [
        ("77 28 06 23 08", loaded(Cfa.STACK_LOADED, 40, 8)),
        ("77 78 06 23 08", loaded(Cfa.STACK_LOADED, -8, 8)),
        ("77 98 01 06 23 80 01", loaded(Cfa.STACK_LOADED, 152, 128)),
        ("76 58 06", loaded(Cfa.FRAME_LOADED, -40, 0)),
        ("77 80 80 7e 06 23 ff ff 01", loaded(Cfa.STACK_LOADED, -32768, 32767)),
        ("77 a0 01 06", loaded(Cfa.STACK_LOADED, 160, 0)),
    ],
)
def test_a_word_loaded_beside_the_stack_or_frame_pointer(expression, rule):
    assert X86_64.cfa_expression(bytes.fromhex(expression), False) == rule


@pytest.mark.parametrize(
    "expression",
    [
        b"", LAZY[:-1], LAZY + b"\x96",
        b"\x77\x28", b"\x77\x28\x06\x23", b"\x75\x28\x06", b"\x77\x28\x06\x06",
        b"\x77\x28\x06\x23\x08\x96", b"\x77\x80\x80\x02\x06", b"\x77\x00\x06\x23\x80\x80\x02",
        b"\x77\x80\x80\x80\x00\x06",
        b"\x77\x08\x79\x00\x38\x1e\x22\x06\x23\x08",  # OpenSSL's [rsp + 8 + 8*r9] + 8
    ],
)  # fmt: skip
def test_other_expressions_are_unsupported(expression):
    assert X86_64.cfa_expression(expression, False) == UNSUPPORTED


@pytest.mark.parametrize("expression", [b"\x77\x28\x06\x23\x08", b"\x76\x00\x06"])
def test_a_signal_frame_is_the_kernels_or_unsupported(expression):
    assert X86_64.cfa_expression(expression, True) == UNSUPPORTED


@pytest.mark.parametrize(
    ("slot", "rule"),
    [
        ("ff 25 e2 2f 00 00 68 00 00 00 00 e9 e0 ff ff ff", Rule(Cfa.PLT, 11)),
        ("f3 0f 1e fa 68 00 00 00 00 e9 e2 ff ff ff 66 90", Rule(Cfa.PLT, 9)),
        ("68 00 00 00 00 f2 e9 e5 ff ff ff 0f 1f 44 00 00", Rule(Cfa.PLT, 5)),
        ("90 90 90 90 90 90 90 90 90 90 90 90 90 90 90 90", UNSUPPORTED),
    ],
)
def test_lazy_stubs_without_cfi_are_known_by_their_code(slot, rule):
    assert X86_64.stub_rules(0x1000, HEAD + bytes.fromhex(slot)) == (
        (0x1000, 0x1006, Rule(Cfa.STACK, 16)),
        (0x1006, 0x1010, Rule(Cfa.STACK, 24)),
        (0x1010, 0x1020, rule),
    )


def test_stubs_that_only_jump():
    stub = bytes.fromhex("ff 25 e2 2f 00 00 66 90")
    assert X86_64.stub_rules(0x1000, stub) == ((0x1000, 0x1008, ENTRY),)
    assert X86_64.stub_rules(0x1000, b"") == ((0x1000, 0x1000, ENTRY),)
