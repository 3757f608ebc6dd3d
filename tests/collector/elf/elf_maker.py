# SPDX-License-Identifier: Apache-2.0
"""Small ELF files made to order, so that no test depends on a compiler or a distribution.

Layout: ELF header, one or two program headers, build-id note, code, symbols, strings,
section headers [null, .text, .symtab or .dynsym, .strtab].
"""

from __future__ import annotations

import struct

BASE = 0x400000
CODE = 0x1000
CODE_SIZE = 0x1000

FUNC, NOTYPE, OBJECT, IFUNC = 2, 0, 1, 10
LOCAL, GLOBAL, WEAK = 0, 1, 2


def note(build_id, name=b"GNU\0", kind=3):
    return struct.pack("<III", len(name), len(build_id), kind) + name + build_id


def symbol(name, value, size=0, *, kind=FUNC, binding=GLOBAL, section=1):
    """A request for make(): value is relative to the start of the code."""
    return name, value, size, kind, binding, section


def symbol_bytes(symbols, bits=64, order="<"):
    """(table, strings) of the symbols; values become virtual addresses."""
    strings = bytearray(b"\0")
    table = bytearray(24 if bits == 64 else 16)
    for name, value, size, kind, binding, section in symbols:
        place, info = len(strings), binding << 4 | kind
        strings += name + b"\0"
        address = BASE + CODE + value
        if bits == 64:
            table += struct.pack(order + "IBBHQQ", place, info, 0, section, address, size)
        else:
            table += struct.pack(order + "IIIBBH", place, address, size, info, 0, section)
    return bytes(table), bytes(strings)


def make(symbols=(), *, build_id=b"\xab" * 20, sections=True, table_type=2, kind=3):
    """The bytes of a little-endian ELF64 executable; kind 3 is ET_DYN."""
    notes = note(build_id) if build_id else b""
    table, strings = symbol_bytes(symbols)
    note_at = 64 + 2 * 56
    table_at = CODE + CODE_SIZE
    strings_at = table_at + len(table)
    headers_at = strings_at + len(strings) if sections else 0
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQ", kind, 62, 1, BASE + CODE, 64, headers_at)
    header += struct.pack("<IHHHHHH", 0, 64, 56, 2, 64, 4 if sections else 0, 0)
    code = struct.pack("<IIQQQQQQ", 1, 5, CODE, BASE + CODE, 0, CODE_SIZE, CODE_SIZE, 4096)
    noted = struct.pack("<IIQQQQQQ", 4, 4, note_at, 0, 0, len(notes), len(notes), 4)
    body = (header + code + noted + notes).ljust(CODE, b"\0") + b"\x90" * CODE_SIZE
    body += table + strings
    if not sections:
        return body
    rows = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (0, 1, 6, BASE + CODE, CODE, CODE_SIZE, 0, 0, 16, 0),
        (0, table_type, 0, 0, table_at, len(table), 3, 1, 8, 24),
        (0, 3, 0, 0, strings_at, len(strings), 0, 0, 1, 0),
    ]
    return body + b"".join(struct.pack("<IIQQQQIIQQ", *row) for row in rows)
