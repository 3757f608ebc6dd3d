# SPDX-License-Identifier: Apache-2.0
"""Struct layouts out of the .BTF section of an ELF object (Documentation/bpf/btf.rst)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MEMBER = struct.Struct("<III")
_ARRAY = struct.Struct("<III")

INT, PTR, ARRAY, STRUCT, UNION, ENUM = 1, 2, 3, 4, 5, 6
FUNC_PROTO, VAR, DATASEC, DECL_TAG, ENUM64 = 13, 14, 15, 17, 19
POINTER_SIZE = 8


@dataclass(frozen=True)
class Type:
    """One entry: for most kinds `size` is bytes, for the others it is the type referred to."""

    kind: int
    name: str
    size: int
    flag: bool
    extra: bytes


def extra_size(kind: int, vlen: int) -> int:
    """Bytes that follow an entry."""
    each = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}
    once = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
    return vlen * each.get(kind, 0) + once.get(kind, 0)


class Btf:
    """All types of one object; type ids count from 1."""

    def __init__(self, data: bytes) -> None:
        magic, _, _, header, types, types_size, strings, strings_size = _HEADER.unpack_from(data)
        if magic != MAGIC:
            raise ValueError("no BTF")
        self._strings = data[header + strings :][:strings_size]
        self.types = [Type(0, "void", 0, flag=False, extra=b"")]
        position, end = header + types, header + types + types_size
        while position < end:
            name, info, size = _TYPE.unpack_from(data, position)
            position += _TYPE.size
            kind = info >> 24 & 0x1F
            length = extra_size(kind, info & 0xFFFF)
            extra = data[position : position + length]
            self.types.append(Type(kind, self._name(name), size, bool(info >> 31), extra))
            position += length

    @classmethod
    def of(cls, path: Path) -> Btf:
        with path.open("rb") as file:
            return cls(ELFFile(file).get_section_by_name(".BTF").data())

    def structs(self) -> dict[str, Type]:
        return {one.name: one for one in self.types if one.kind == STRUCT and one.name}

    def fields(self, wanted: Type) -> dict[str, tuple[int, int]]:
        """Field -> (offset, size) in bytes."""
        if wanted.flag:
            raise ValueError(f"struct {wanted.name} has bit fields")
        return {
            self._name(name): (bits // 8, self.size_of(number))
            for name, number, bits in _MEMBER.iter_unpack(wanted.extra)
        }

    def size_of(self, number: int) -> int:
        one = self.types[number]
        if one.kind == PTR:
            return POINTER_SIZE
        if one.kind == ARRAY:
            element, _, count = _ARRAY.unpack(one.extra)
            return count * self.size_of(element)
        if one.kind in (INT, STRUCT, UNION, ENUM, ENUM64):
            return one.size
        return self.size_of(one.size)  # typedef, const, volatile: another name for a type

    def _name(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()
