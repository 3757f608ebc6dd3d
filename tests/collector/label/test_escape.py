# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.label.escape import CUT, clean, clip, escape

ANY = st.text(st.characters())  # surrogates too: names are decoded with surrogateescape


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("python3.11", "python3.11"),
        ("naïve-名", "naïve-名"),
        ("a\nb\t\x1b[31m\x00", "a\\x0ab\\x09\\x1b[31m\\x00"),
        ("\\n", "\\\\n"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb\u2028", "a\\u200bb\\u2028"),
        ("\x9b\U000e0001", "\\u009b\\U000e0001"),
        (b"\xff\xfe".decode(errors="surrogateescape"), "\\xff\\xfe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_escape(text, escaped):
    assert escape(text) == escaped


@given(ANY)
def test_what_is_cleaned_is_printable_short_and_encodes(text):
    cleaned = clean(text, 64)
    assert cleaned.isprintable()
    assert len(cleaned.encode()) <= 64


@given(ANY, ANY)
def test_two_texts_never_look_alike(one, other):
    assert (escape(one) == escape(other)) == (one == other)


def test_an_escape_cannot_be_spelled():
    assert escape("\x1b") != escape("\\x1b") != escape("\udc1b")


@given(st.text(), st.integers(3, 40))
def test_a_cut_is_visible_and_whole_characters_remain(text, limit):
    clipped = clip(text, limit)
    if clipped != text:
        assert clipped.endswith(CUT)
        assert text.startswith(clipped.removesuffix(CUT))
        assert len(clipped.encode()) > limit - 4
