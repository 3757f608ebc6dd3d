# SPDX-License-Identifier: Apache-2.0
"""Names: whatever a file calls its functions, one printable line comes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.elf.parse_names import safe_name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"main", "main"),
        (b"main\0rest", "main"),
        (b"_ZN3fooC1Ev", "_ZN3fooC1Ev"),
        (b"a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("\u202eevil".encode(), "\\u202eevil"),
        ("größe".encode(), "größe"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_sec_05_names_are_printable(raw, name):
    assert safe_name(raw) == name


@given(st.binary(max_size=2000))
def test_any_bytes_give_one_printable_line_of_bounded_size(raw):
    name = safe_name(raw)
    assert name.isprintable()
    assert len(name.encode()) <= 512
    assert len(name.splitlines()) <= 1
