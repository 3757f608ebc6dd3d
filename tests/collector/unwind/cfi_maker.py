# SPDX-License-Identifier: Apache-2.0
"""Call frame information and ELF files made to order, so that no test depends on a compiler.

Layout of a file: ELF header, program headers (all code is one PT_LOAD that maps the whole
file at BASE), contents of sections, section headers [null, given ones, .shstrtab].
"""

from __future__ import annotations

import struct

BASE = 0x400000
CODE = BASE + 0x1000
NEW = b"\x0c\x07\x08\x90\x01"  # def_cfa rsp 8; offset rip at cfa-8
PROGBITS, SYMTAB, STRTAB, NOBITS = 1, 2, 3, 8


def leb(value):
    out = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        done = (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40)
        out.append(byte | (0 if done else 0x80))
        if done:
            return bytes(out)


def record(number, body):
    body += bytes(-(len(body) + 4) % 8)
    return struct.pack("<II", len(body) + 4, number) + body


def cie(program=NEW, *, augmentation=b"zR", data=b"\x1b", version=1, column=16, factors=(1, -8)):
    lengths = leb(len(data)) + data if augmentation.startswith(b"z") else b""
    extra = b"\x08\0" if version == 4 else b""
    head = bytes([version]) + augmentation + b"\0" + extra + leb(factors[0]) + leb(factors[1])
    return head + leb(column) + lengths + program


def eh_frame(functions, address, head=None):
    """One CIE and an FDE for each (start, size, program); pointers are pcrel sdata4."""
    out = bytearray(record(0, cie() if head is None else head))
    for start, size, program in functions:
        place = len(out)
        pointer = start - (address + place + 8)
        out += record(place + 4, struct.pack("<iI", pointer, size) + b"\0" + program)
    return bytes(out)


def debug_frame(functions, head=None):
    default = cie(augmentation=b"", version=4)
    out = bytearray(record(0xFFFFFFFF, default if head is None else head))
    for start, size, program in functions:
        out += record(0, struct.pack("<QQ", start, size) + program)
    return bytes(out)


def section(name, contents, *, address=0, kind=PROGBITS, flags=0, link=0, at=None):
    """A request for elf(); `at` is the place in the file, needed for what is loaded."""
    return name, contents, address, kind, flags, link, at


def loaded(name, contents, address, *, flags=2):
    return section(name, contents, address=address, flags=flags, at=address - BASE)


def elf(sections=(), *, entry=0, kind=3, machine=62, code_size=0x8000, headers=()):
    """The bytes of a file; headers are further program headers (type, flags, address, size)."""
    programs = [(1, 5, BASE, code_size), *headers]
    body = bytearray(64 + 56 * len(programs))
    for place, (what, flags, address, size) in enumerate(programs):
        row = (what, flags, address - BASE, address, 0, size, size, 8)
        struct.pack_into("<IIQQQQQQ", body, 64 + 56 * place, *row)
    body += bytes(code_size - len(body))
    names, rows = bytearray(b"\0"), [(0,) * 10]
    for name, contents, address, section_kind, flags, link, fixed in sections:
        at = len(body) if fixed is None else fixed
        if at == len(body):
            body += contents
        else:
            body[at : at + len(contents)] = contents
        rows.append((len(names), section_kind, flags, address, at, len(contents), link, 0, 1, 0))
        names += name + b"\0"
    rows.append((len(names), STRTAB, 0, 0, len(body), len(names) + 10, 0, 0, 1, 0))
    body += names + b".shstrtab\0"
    table = len(body) if sections else 0
    count = len(rows) if sections else 0
    struct.pack_into(
        "<16sHHIQQQ", body, 0, b"\x7fELF\x02\x01\x01", kind, machine, 1, entry, 64, table
    )
    struct.pack_into("<IHHHHHH", body, 48, 0, 64, 56, len(programs), 64, count, max(count - 1, 0))
    return bytes(body) + b"".join(struct.pack("<IIQQQQIIQQ", *row) for row in rows[: count or 0])


FRAME_AT = BASE + 0x4000
PUSH_RBP = b"\x41\x0e\x10\x86\x02\x43\x0d\x06"  # +1: cfa rsp+16, rbp at cfa-16; +3: cfa rbp+16


def simple(functions=((CODE, 0x40, PUSH_RBP),), **options):
    """A file with .text and an .eh_frame of these functions."""
    frames = loaded(b".eh_frame", eh_frame(functions, FRAME_AT), FRAME_AT)
    return elf([loaded(b".text", bytes(0x1000), CODE, flags=6), frames], **options)
