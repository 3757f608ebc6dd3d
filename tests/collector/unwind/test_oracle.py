# SPDX-License-Identifier: Apache-2.0
"""Rows of real files against pyelftools' decoded tables.

Every row that pyelftools decodes is looked up in our table, at its first and its last byte.
They differ for one reason: pyelftools says what CFI says, and we say that the function in which
a process begins is a bottom.

pyelftools 0.33 fails on DW_CFA_GNU_args_size, which changes no row: it is left out before decoding.

pyelftools gives the bytes of a CFA's expression, or the operations in it: two forms known by their
bytes must be PLT or SIGNAL, a word loaded beside the stack or frame pointer must be just that, any
other is UNSUPPORTED.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from elftools.dwarf.callframe import FDE
from elftools.dwarf.dwarf_expr import DWARFExprParser
from elftools.dwarf.structs import DWARFStructs
from elftools.elf.elffile import ELFFile

from collector.elf.source import Source
from collector.unwind.rows import BOTTOM, CLONED, END, UNSUPPORTED, Cfa, Rule, Saved, loaded
from collector.unwind.table import unwind_table

RSP, RBP, RIP = 7, 6, 16
ARGS_SIZE = 0x2E
PLT_EXPRESSION = [0x77, 8, 0x80, 0, 0x3F, 0x1A, 0x3B, 0x2A, 0x33, 0x24, 0x22]
SIGNAL_EXPRESSION = [0x77, 0xA0, 0x01, 0x06]
OPERATIONS = DWARFExprParser(DWARFStructs(little_endian=True, dwarf_format=32, address_size=8))

PROGRAM = r"""
#include <alloca.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

__attribute__((noinline)) int large(int n) {
    volatile char block[100000];
    memset((char *)block, n, sizeof block);
    return block[n & 1023];
}

__attribute__((noinline)) int varying(int n) {
    char *block = alloca(n * 16 + 1);
    memset(block, n, n * 16 + 1);
    return block[n] + large(n);
}

__attribute__((noinline)) int aligned(int n) {
    _Alignas(64) volatile int block[64];
    char *more = alloca(n * 16 + 1);
    block[n & 63] = varying(n);
    memset(more, n, n * 16 + 1);
    return block[n & 63] + more[n];
}

__attribute__((noinline)) int deep(int n, int a, int b, int c, int d) {
    int e = aligned(n), f = large(a);
    if (n <= 0)
        return e;
    if (f == 77)
        abort();
    return deep(n - 1, b, c, d, e + f) + a * b + c * d + e * f;
}

int main(int argc, char **argv) {
    int values[] = {3, 1, argc, 2};
    qsort(values, 4, sizeof values[0], compare);
    return deep(values[0], 1, 2, 3, argv[0][0]);
}
"""


def mapped(name):
    """The path of a library of this interpreter, or None."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(name):
            return Path(line.split(maxsplit=5)[5])
    return None


def the_libc():
    return mapped("libc.so.6")


def the_libcrypto():
    with contextlib.suppress(ImportError):
        import ssl  # noqa: F401 (maps the library)
    return mapped("libcrypto.so.3")


def oracle_rule(line):
    """pyelftools' line in our words; an expression is its bytes."""
    returns, frame, cfa = line.get(RIP), line.get(RBP), line["cfa"]
    if returns is not None and returns.type == "UNDEFINED":
        return BOTTOM
    if returns is None or (returns.type, returns.arg) != ("OFFSET", -8):
        return UNSUPPORTED
    if cfa.expr is not None:
        rule = expression_rule(list(cfa.expr))
    else:
        kind = {RSP: Cfa.STACK, RBP: Cfa.FRAME}.get(cfa.reg)
        rule = Rule(kind, cfa.offset) if kind else loaded(Cfa.REGISTER, cfa.reg, cfa.offset)
    if rule == UNSUPPORTED or frame is None or frame.type == "SAME_VALUE":
        return rule
    if frame.type == "OFFSET":
        return Rule(rule.cfa, rule.offset, Saved.AT, frame.arg)
    if frame.type == "EXPRESSION":
        (operation,) = OPERATIONS.parse_expr(list(frame.arg))
        assert operation.op_name == "DW_OP_breg6"
        return Rule(rule.cfa, rule.offset, Saved.AT_FRAME, operation.args[0])
    return Rule(rule.cfa, rule.offset, Saved.LOST)


def expression_rule(code):
    if code == PLT_EXPRESSION:
        return Rule(Cfa.PLT, 11)
    names, arguments = zip(
        *((op.op_name, op.args) for op in OPERATIONS.parse_expr(code)), strict=True
    )
    kind = {"DW_OP_breg6": Cfa.FRAME_LOADED, "DW_OP_breg7": Cfa.STACK_LOADED}.get(names[0])
    if kind is None or names[1:] not in (("DW_OP_deref",), ("DW_OP_deref", "DW_OP_plus_uconst")):
        return UNSUPPORTED
    return loaded(kind, arguments[0][0], arguments[2][0] if len(arguments) == 3 else 0)


def oracle_rows(elf):
    """(start, end, rule) of every row of every function; `end` is the next row's start."""
    for fde in elf.get_dwarf_info().EH_CFI_entries():
        if not isinstance(fde, FDE):
            continue
        start, size = fde["initial_location"], fde["address_range"]
        signal = b"S" in fde.cie["augmentation"]
        fde.instructions[:] = [step for step in fde.instructions if step.opcode != ARGS_SIZE]
        lines = fde.get_decoded().table
        ends = [line["pc"] for line in lines[1:]] + [start + size]
        for line, end in zip(lines, ends, strict=True):
            rule = oracle_rule(line)
            known = line["cfa"].expr is not None and list(line["cfa"].expr) == SIGNAL_EXPRESSION
            if signal and known:
                rule = Rule(Cfa.SIGNAL, frame=Saved.LOST)
            if line["pc"] < end:
                yield start, size, line["pc"], end, rule


@cache
def compare(path):
    """(rows compared, how many differ by reason, our table)."""
    with path.open("rb") as stream:
        table = unwind_table(Source.of_descriptor(stream.fileno()))
        elf = ELFFile(stream)
        entry, rows = elf["e_entry"], list(oracle_rows(elf))
    differences = Counter()
    for start, size, low, high, rule in rows:
        for address in (low, high - 1):
            found = table.rule_at(address)
            if found == rule:
                continue
            explained = start <= entry < start + size and found == BOTTOM
            differences["entry" if explained else f"{address:#x}: {found}, not {rule}"] += 1
    return rows, differences, table


def check(path, allowed):
    rows, differences, table = compare(path)
    assert set(differences) <= allowed, differences
    return rows, table


needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


@needs_gcc
@pytest.mark.parametrize("frames", ["-fomit-frame-pointer", "-fno-omit-frame-pointer"])
def test_a_program_with_and_without_frame_pointers(tmp_path, frames):
    path = tmp_path / "program"
    options = ["-O2", frames, "-Wl,-z,lazy", "-x", "c", "-", "-o", path]
    subprocess.run(["gcc", *options], input=PROGRAM, text=True, check=True)
    rows, table = check(path, {"entry"})
    kinds = {rule.cfa for *_, rule in rows}
    assert {Cfa.STACK, Cfa.FRAME, Cfa.FRAME_LOADED, Cfa.PLT} <= kinds
    assert Saved.AT_FRAME in {rule.frame for *_, rule in rows}
    by_frame = sum(rule.cfa == Cfa.FRAME for *_, rule in rows)
    assert (by_frame > len(rows) / 5) == (frames == "-fno-omit-frame-pointer")
    assert table.refused == 0


@pytest.mark.skipif(the_libc() is None, reason="the C library is not glibc")
def test_the_c_library():
    rows, table = check(the_libc(), {"entry"})
    assert len(rows) > 10_000
    assert {Cfa.SIGNAL, Cfa.BOTTOM, Cfa.UNSUPPORTED} <= {rule.cfa for *_, rule in rows}
    assert table.refused == 0


@pytest.mark.skipif(the_libcrypto() is None, reason="ssl is not OpenSSL 3 in a library")
def test_openssl_and_its_assembly():
    rows, table = check(the_libcrypto(), set())
    assert {Cfa.STACK_LOADED, Cfa.FRAME_LOADED, Cfa.PLT} <= {rule.cfa for *_, rule in rows}
    assert table.refused == 0


@pytest.mark.skipif(the_libc() is None, reason="the C library is not glibc")
def test_between_functions_of_the_c_library_is_nothing_but_padding():
    """No byte outside of every function has a rule, except what fills up to the next one."""
    rows, _, table = compare(the_libc())
    spans = sorted({(start, start + size) for start, size, *_ in rows})
    for (_, end), (following, _) in pairwise(spans):
        if following - end >= 16 or following % 16:
            rule = table.rule_at(end)
            assert following <= end or rule in (END, BOTTOM, CLONED), hex(end)
