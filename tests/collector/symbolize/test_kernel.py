# SPDX-License-Identifier: Apache-2.0
"""Kernel symbols: any bytes parse, and what covers an offset is what kallsyms would say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.symbolize.kernel import KernelSymbols

EXAMPLE = b"""\
0 T _text [vmlinux]
0 t short [vmlinux]
64 T schedule [vmlinux]
128 D some_data [vmlinux]
192 t local_helper [vmlinux]
-4096 t mod_init [some_module]
-4032 T mod_exit [some_module]
"""


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (0, ("_text", "vmlinux")),
        (63, ("_text", "vmlinux")),
        (64, ("schedule", "vmlinux")),
        (127, ("schedule", "vmlinux")),
        (128, None),
        (191, None),
        (192, ("local_helper", "vmlinux")),
        (192 + 256 * 1024, ("local_helper", "vmlinux")),
        (192 + 256 * 1024 + 1, None),
        (-4097, None),
        (-4096, ("mod_init", "some_module")),
        (-4000, ("mod_exit", "some_module")),
        (2**70, None),
    ],
)
def test_the_symbol_that_covers_an_offset(offset, expected):
    assert KernelSymbols.parse(EXAMPLE).resolve(offset) == expected


def test_lines_that_do_not_fit_are_counted():
    symbols = KernelSymbols.parse(EXAMPLE + b"zz T x [m]\n1 T\n\n1 T \x1b[0m [m]\n7 T last")
    assert symbols.malformed == 5
    assert symbols.resolve(64) == ("schedule", "vmlinux")


def test_an_offset_beyond_64_bits_is_malformed():
    symbols = KernelSymbols.parse(b"9223372036854775808 T far [vmlinux]\n")
    assert (symbols.malformed, len(symbols)) == (1, 0)


@given(st.binary(max_size=400), st.integers())
def test_any_bytes_give_symbols_or_count_as_malformed(text, offset):
    symbols = KernelSymbols.parse(text)
    assert 0 <= symbols.malformed <= text.count(b"\n") + 1
    assert list(symbols.offsets) == sorted(set(symbols.offsets))
    resolved = symbols.resolve(offset)
    assert resolved is None or all(part.isprintable() for part in resolved)


lines = st.tuples(
    st.integers(-300, 300), st.sampled_from("TtWwDb"), st.text("abc_", min_size=1, max_size=3)
)


@given(st.lists(lines, max_size=30), st.integers(-320, 320))
def test_the_answer_is_that_of_a_search_through_all_lines(rows, offset):
    text = "".join(f"{at} {kind} {name} [vmlinux]\n" for at, kind, name in rows).encode()
    before = [row for row in rows if row[0] <= offset]
    expected = None
    if before:
        nearest = max(row[0] for row in before)
        group = [row for row in before if row[0] == nearest and row[1] in "TtWw"]
        if group:
            best = min(group, key=lambda row: ("TWtw".index(row[1]), len(row[2]), row[2]))
            expected = (best[2], "vmlinux")
    assert KernelSymbols.parse(text).resolve(offset) == expected


@pytest.mark.root
def test_this_kernel_fits_into_six_mebibytes():
    rows = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    base = next(int(row[0], 16) for row in rows if row[2] == "_text")
    assert base, "kallsyms hides addresses: this test runs as root"
    text = "".join(
        f"{int(row[0], 16) - base} {row[1]} {row[2]} {row[3] if len(row) > 3 else '[vmlinux]'}\n"
        for row in rows
    )
    symbols = KernelSymbols.parse(text.encode())
    assert symbols.malformed == 0
    assert symbols.size_bytes < 6 * 1024 * 1024
    schedule = next(int(row[0], 16) - base for row in rows if row[2] == "schedule")
    assert symbols.resolve(schedule + 4) == ("schedule", "vmlinux")
