# SPDX-License-Identifier: Apache-2.0
"""Code that no CFI describes."""

from __future__ import annotations

import struct

import pytest

from collector.elf.source import ElfError, Source
from collector.unwind.fill import Gaps
from collector.unwind.go import go_functions
from collector.unwind.rows import BOTTOM, END, SIGNAL, SWITCHED, Cfa, Rule, Saved
from collector.unwind.table import unwind_table
from collector.unwind.x86_64 import X86_64
from tests.collector.unwind.cfi_maker import (
    BASE,
    CODE,
    FRAME_AT,
    PUSH_RBP,
    STRTAB,
    SYMTAB,
    debug_frame,
    eh_frame,
    elf,
    loaded,
    section,
    simple,
)

TEXT = loaded(b".text", bytes(0x1000), CODE, flags=6)
ENTRY = Rule(Cfa.STACK, 8)


def table(data):
    return unwind_table(Source.of_bytes(data))


def with_symbols(sections, named, **options):
    """The file with a .symtab of (name, address, size)."""
    strings, entries = bytearray(b"\0"), bytearray(24)
    for name, address, size in named:
        entries += struct.pack("<IBBHQQ", len(strings), 2, 0, 1, address, size)
        strings += name + b"\0"
    link = len(sections) + 2
    return elf(
        [
            *sections,
            section(b".symtab", bytes(entries), kind=SYMTAB, link=link),
            section(b".strtab", bytes(strings), kind=STRTAB),
        ],
        **options,
    )


def test_gaps_are_filled_once():
    gaps = Gaps([(0, 10), (20, 30)])
    gaps.fill(5, 25, ENTRY)
    gaps.fill(0, 30, BOTTOM)
    assert sorted(gaps.patches, key=lambda patch: patch[0]) == [
        (0, 5, BOTTOM), (5, 10, ENTRY), (20, 25, ENTRY), (25, 30, BOTTOM),
    ]  # fmt: skip
    assert gaps.free(0, 100) == []


def test_of_many_gaps_the_largest_are_filled():
    gaps = Gaps([(100 * n, 100 * n + 1 + n % 7) for n in range(10_000)])
    assert len(gaps.free(0, 1 << 62)) == 4096
    assert gaps.covers(603)
    assert not gaps.covers(700)


def test_a_plt_without_cfi():
    stubs = bytes.fromhex("ff35e22f0000ff25e42f00000f1f4000 ff25e22f00006800000000e9e0ffffff")
    at = CODE + 0x1000
    found = table(elf([loaded(b".plt", stubs, at, flags=6), TEXT]))
    assert found.rule_at(at) == Rule(Cfa.STACK, 16)
    assert found.rule_at(at + 6) == Rule(Cfa.STACK, 24)
    assert found.rule_at(at + 16) == Rule(Cfa.PLT, 11)
    assert found.rule_at(at + 32) == END


def test_cfi_of_a_plt_goes_first():
    frames = eh_frame([(CODE, 32, b"\x0e\x20")], FRAME_AT)
    found = table(
        elf([loaded(b".plt", bytes(32), CODE, flags=6), loaded(b".eh_frame", frames, FRAME_AT)])
    )
    assert found.rule_at(CODE + 31) == Rule(Cfa.STACK, 32)


def test_the_signal_return_without_cfi_from_the_byte_before():
    text = bytearray(0x1000)
    text[0x123 : 0x123 + 9] = X86_64.trampoline
    found = table(elf([loaded(b".text", bytes(text), CODE, flags=6)]))
    kinds = [found.rule_at(CODE + at).cfa for at in (0x121, 0x122, 0x123, 0x12B, 0x12C)]
    assert kinds == [Cfa.END, Cfa.SIGNAL, Cfa.SIGNAL, Cfa.SIGNAL, Cfa.END]


def test_bottoms_by_name():
    named = [(b"_start", CODE + 0x100, 32), (b"x__clone", CODE + 0x200, 8), (b"f", CODE, 9)]
    found = table(with_symbols([TEXT], named, entry=CODE + 0x100))
    assert found.rule_at(CODE + 0x11F) == BOTTOM
    assert found.rule_at(CODE + 0x120) == found.rule_at(CODE) == END
    # the name's place is that of x__clone, so it is not __clone
    assert found.rule_at(CODE + 0x200) == END


def test_a_library_is_not_entered_at_the_start_of_its_text():
    """There old linkers point; the dynamic linker's entry lies elsewhere."""
    assert table(elf([TEXT], entry=CODE)).rule_at(CODE) == END
    assert table(elf([TEXT], entry=CODE, kind=2)).rule_at(CODE) == BOTTOM
    assert table(elf([TEXT], entry=CODE + 0x40)).rule_at(CODE + 0x40) == BOTTOM


def test_a_library_that_has_cfi_at_its_entry_is_not_entered_there():
    assert table(simple(((CODE, 0x40, b""),), entry=CODE + 1)).rule_at(CODE + 1) == ENTRY


def test_the_whole_function_at_the_entry_is_a_bottom():
    found = table(simple(((CODE, 0x40, PUSH_RBP), (CODE + 0x40, 8, b"")), entry=CODE, kind=2))
    assert [found.rule_at(CODE + at) for at in (0, 0x3F, 0x40)] == [BOTTOM, BOTTOM, ENTRY]


def test_an_undefined_return_address_is_a_bottom():
    found = table(simple(((CODE, 0x40, b"\x44\x07\x10"),)))
    assert [found.rule_at(CODE + at) for at in (0, 4, 0x40)] == [ENTRY, BOTTOM, END]


def pclntab(functions, *, magic=0xFFFFFFF1, text=CODE):
    """Go's function table of (name, offset), the last of which ends the text."""
    names, places = bytearray(b"\0"), []
    for name, _ in functions:
        places.append(len(names))
        names += name + b"\0"
    names_at, pairs_at = 72, 72 + len(names)
    at, pairs, data = 8 * len(functions), bytearray(), bytearray()
    for (_, offset), place in zip(functions[:-1], places, strict=False):
        pairs += struct.pack("<II", offset, at + len(data))
        data += struct.pack("<II", offset, place)
    pairs += struct.pack("<II", functions[-1][1], 0)
    head = struct.pack("<IHBB", magic, 0, 1, 8)
    places = (len(functions) - 1, 0, text, names_at, 0, 0, 0, pairs_at)
    return head + struct.pack("<8Q", *places) + bytes(names) + bytes(pairs) + bytes(data)


GO = [
    (b"main.main", 0), (b"runtime.goexit", 0x80), (b"x", 0xA0),
    (b"runtime.sigreturn__sigaction", 0xC0), (b"runtime.systemstack", 0xE0), (b"", 0x100),
]  # fmt: skip


def test_go_keeps_frame_pointers_and_ends_in_goexit():
    found = table(elf([TEXT, loaded(b".gopclntab", pclntab(GO), BASE + 0x5000)]))
    frame = Rule(Cfa.FRAME, 16, X86_64.frame_rule.frame, -16)
    assert [found.rule_at(CODE + at) for at in (0, 0x7F, 0x80, 0x9F, 0xA0)] == [
        frame, frame, BOTTOM, BOTTOM, frame,
    ]  # fmt: skip


def test_go_s_runtime_is_known_better_than_its_cfi_says():
    frames = eh_frame([(CODE, 0x100, b"")], FRAME_AT)
    go = loaded(b".gopclntab", pclntab(GO), BASE + 0x5000)
    found = table(elf([TEXT, loaded(b".eh_frame", frames, FRAME_AT), go]))
    rules = [found.rule_at(CODE + at) for at in (0x7F, 0x80, 0xA0, 0xBE, 0xBF, 0xDF, 0xE0)]
    assert rules == [ENTRY, BOTTOM, ENTRY, ENTRY, SIGNAL, SIGNAL, SWITCHED]


def test_the_debug_frame_of_go_leaves_out_frame_pointers():
    program = b"\x0e\x08\x48\x0e\x10\x48\x0e\x40"  # CFA = rsp + 8, rsp + 16, rsp + 64
    debug = section(b".debug_frame", debug_frame([(CODE, 0x40, program)]))
    go = loaded(b".gopclntab", pclntab(GO), BASE + 0x5000)
    of_c, of_go = table(elf([TEXT, debug])), table(elf([TEXT, debug, go]))
    assert [of_c.rule_at(CODE + at) for at in (0, 8, 16)] == [
        ENTRY, Rule(Cfa.STACK, 16), Rule(Cfa.STACK, 64),
    ]  # fmt: skip
    assert [of_go.rule_at(CODE + at) for at in (0, 8, 16)] == [
        ENTRY, Rule(Cfa.STACK, 16, Saved.AT, -16), Rule(Cfa.STACK, 64, Saved.AT, -16),
    ]  # fmt: skip


def test_go_tables_without_a_text_start_count_from_text():
    found = go_functions(pclntab(GO, text=0), frozenset([b"runtime.goexit"]), 0x1000)
    assert found == {b"runtime.goexit": (0x1080, 0x10A0)}


@pytest.mark.parametrize(
    "data",
    [b"", pclntab(GO)[:71], pclntab(GO)[:-20], pclntab(GO, magic=0xFFFFFFFB)],
)
def test_go_tables_of_other_layouts_are_errors(data):
    with pytest.raises(ElfError):
        go_functions(data, frozenset([b"runtime.goexit"]), 0)
