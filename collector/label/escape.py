# SPDX-License-Identifier: Apache-2.0
"""Text that somebody else chose, made fit for one line of a terminal, a log or a label.

Names of processes, threads and files are chosen by whoever runs them. What is not printable
(control characters, line ends, bidirectional marks, other format characters, bytes that are no
UTF-8) becomes a backslash escape; a backslash is doubled, so that no two inputs look alike.
"""

from __future__ import annotations

MAX_BYTES = 255  # NAME_MAX; a host name has at most 253
CUT = "…"


def escape(text: str) -> str:
    """`text` with every character that is not printable as \\xNN, \\uNNNN or \\UNNNNNNNN."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_character, text))


def clip(text: str, limit: int = MAX_BYTES) -> str:
    """`text` in at most `limit` bytes of UTF-8, ending in "…" if something was cut off."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return text
    room = limit - len(CUT.encode())
    return data[:room].decode("utf-8", "ignore") + CUT


def clean(text: str, limit: int = MAX_BYTES) -> str:
    """Escaped, then clipped: at most `limit` bytes, printable, one line."""
    return clip(escape(text), limit)


def _character(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as surrogateescape decodes it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
