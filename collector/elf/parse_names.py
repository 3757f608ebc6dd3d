# SPDX-License-Identifier: Apache-2.0
"""Names out of somebody else's file, made fit for one line of text anywhere."""

from __future__ import annotations

MAX_NAME = 512
"""Bytes of UTF-8 after escaping."""


def safe_name(raw: bytes) -> str:
    """Printable text of at most MAX_NAME bytes; ends at the first NUL of `raw`.

    Invalid UTF-8 is replaced by U+FFFD. What does not print (control characters, line and
    paragraph separators, bidirectional overrides) is written as Python writes it: \\x1b, \\u202e.
    """
    text = raw.split(b"\0", 1)[0][:MAX_NAME].decode("utf-8", "replace")
    return shortened(escaped(text))


def escaped(text: str) -> str:
    """`text` with every character that does not print written as an escape.

    By repr: the codec unicode_escape is a module of its own, out of reach behind the door.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def shortened(text: str) -> str:
    """`text` cut to MAX_NAME bytes of UTF-8, never within a character."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_NAME:
        return text
    return encoded[:MAX_NAME].decode("utf-8", "ignore")
