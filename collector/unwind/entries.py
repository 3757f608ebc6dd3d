# SPDX-License-Identifier: Apache-2.0
"""CIEs and FDEs of .eh_frame and .debug_frame.

    record:  length u32 | (0xffffffff, then length u64) · id (4 or 8 bytes) · body
    CIE:     id 0 (.eh_frame) or all ones (.debug_frame)
             version u8 · augmentation, NUL · [address size u8, segment size u8 if version 4]
             · code alignment uleb · data alignment sleb
             · return column (u8 if version 1, else uleb)
             · [uleb length, data if the augmentation starts with z] · program
    FDE:     id = distance back to its CIE from the id (.eh_frame), or the CIE's place
             start · size · [uleb length, data if z] · program

Example, an FDE of .eh_frame at place 0x40: 14 00 00 00 (20 bytes follow), 44 00 00 00 (CIE at
0x44 - 0x44 = 0), start and size as two pcrel sdata4, 00 (no augmentation data), program.
Source: DWARF 5 §6.4.1, LSB core §10.6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from collector.elf.source import ElfError
from collector.unwind.image import ADDRESS_LIMIT
from collector.unwind.leb import sleb, uleb

MAX_RECORDS = 1 << 21
"""CIEs, FDEs and zero words of one section; node has 77,000."""

MAX_SIZE = (1 << 32) - 1

_MAX_CIES = 1 << 14
_MAX_CIE_SIZE = 256
"""An FDE may call any place its CIE, so what CIEs keep is bounded by these two."""

_MASK = (1 << 64) - 1
_ABSOLUTE = 0
_PC_RELATIVE = 0x10
_OMITTED = 0xFF
_LETTERS = {0: "Q", 2: "H", 3: "I", 4: "Q", 0xA: "h", 0xB: "i", 0xC: "q"}
"""DW_EH_PE_absptr, udata2, 4, 8 and sdata2, 4, 8."""

_RANGES = {
    way | kind: struct.Struct("<" + 2 * letter)
    for way in (_ABSOLUTE, _PC_RELATIVE)
    for kind, letter in _LETTERS.items()
}
"""How an FDE's start and size are laid out, by the encoding its CIE names."""

_WORD = struct.Struct("<I")
_SHORT, _LONG = struct.Struct("<II"), struct.Struct("<QQ")
"""Length and id of a record."""


@dataclass(frozen=True, slots=True)
class FrameSection:
    """`address` is where `data` is loaded; `debug` tells .debug_frame from .eh_frame.

    `terminated` says that a zero word ends it and what follows is something else.
    """

    data: bytes
    address: int
    debug: bool = False
    terminated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Cie:
    """`program` is what holds at the start of each of its functions. Compared by identity."""

    code_alignment: int
    data_alignment: int
    return_column: int
    encoding: int
    augmented: bool
    signal: bool
    program: bytes


class Fde(NamedTuple):
    """Address and size of a function, below MAX_SIZE."""

    start: int
    size: int
    cie: Cie
    program: bytes


_Record = tuple[int, int, int, bool]
"""Place of the id, place of the end, id, and whether places are 64 bits wide."""


class FrameReader:
    """The FDEs of one section; those that cannot be read are counted in `refused`."""

    def __init__(self, section: FrameSection) -> None:
        self._section = section
        self._cies: dict[int, Cie | None] = {}
        self.refused = 0

    def fdes(self) -> Iterator[Fde]:
        """In the file's order. Raises ElfError where a record does not lie in the section."""
        cie_ids = (0xFFFFFFFF, _MASK) if self._section.debug else (0, 0)
        for place, end, number, wide in _records(self._section):
            if number == cie_ids[wide]:
                continue
            fde = self._fde(place, end, number, wide)
            if fde is None:
                self.refused += 1
            else:
                yield fde

    def _fde(self, place: int, end: int, number: int, wide: bool) -> Fde | None:
        cie_place = number if self._section.debug else place - number
        if cie_place not in self._cies and len(self._cies) < _MAX_CIES:
            self._cies[cie_place] = self._cie(cie_place)
        cie = self._cies.get(cie_place)
        if cie is None:
            return None
        data, at, layout = self._section.data, place + (8 if wide else 4), _RANGES[cie.encoding]
        try:
            start, size = layout.unpack_from(data, at)
            if cie.encoding & _PC_RELATIVE:
                start = start + self._section.address + at & _MASK
            at += layout.size
            if cie.augmented:
                length, at = uleb(data, at)
                at += length
        except (IndexError, struct.error, ElfError):
            return None
        if at > end or not 0 < size < MAX_SIZE or not 0 <= start < ADDRESS_LIMIT:
            return None
        return Fde(start, size, cie, data[at:end])

    def _cie(self, place: int) -> Cie | None:
        """None for what is no CIE, or one that says more than is known here."""
        header = _header(self._section.data, place)
        if header is None:
            return None
        at, end, number, wide = header
        wanted = (_MASK if wide else 0xFFFFFFFF) if self._section.debug else 0
        if number != wanted or end - at > _MAX_CIE_SIZE:
            return None
        body = self._section.data[at + (8 if wide else 4) : end]
        try:
            return _parse_cie(body)
        except (IndexError, ElfError):
            return None


def _records(section: FrameSection) -> Iterator[_Record]:
    """Zero words are passed over: they stand between files that were linked together."""
    data, place = section.data, 0
    for _ in range(MAX_RECORDS):
        if place + 4 > len(data):
            return
        if not _WORD.unpack_from(data, place)[0]:
            if section.terminated:
                return
            place += 4
            continue
        record = _record(data, place)
        yield record
        place = record[1]
    raise ElfError("too many records of call frame information")


def _header(data: bytes, place: int) -> _Record | None:
    """The record at a place that another one names: it may be anything."""
    try:
        return _record(data, place)
    except ElfError:
        return None


def _record(data: bytes, place: int) -> _Record:
    """Any place and bytes; raises ElfError for what is no record that lies within them."""
    if not 0 <= place <= len(data) - 8:
        raise ElfError("call frame information ends within a record")
    length, number = _SHORT.unpack_from(data, place)
    at, wide = place + 4, length == 0xFFFFFFFF
    if wide:
        if place + 20 > len(data):
            raise ElfError("call frame information ends within a record")
        length, number = _LONG.unpack_from(data, place + 4)
        at = place + 12
    if length < (8 if wide else 4) or at + length > len(data):
        raise ElfError(f"a record of {length} bytes in call frame information")
    return at, at + length, number, wide


def _parse_cie(body: bytes) -> Cie | None:
    version, text_end = body[0], body.find(b"\0", 1, 32)
    if version not in (1, 3, 4) or text_end < 0:
        return None
    text, at = body[1:text_end], text_end + 1
    if version == 4:
        if body[at : at + 2] != b"\x08\0":
            return None
        at += 2
    code_alignment, at = uleb(body, at)
    data_alignment, at = sleb(body, at)
    column, at = (body[at], at + 1) if version == 1 else uleb(body, at)
    encoding, behind = _ABSOLUTE, at
    if text:
        length, at = uleb(body, at)
        behind = at + length
        known = _augmentation(text, body, at)
        if known not in _RANGES or behind > len(body):
            return None
        encoding = known
    return Cie(
        code_alignment, data_alignment, column, encoding, bool(text), b"S" in text, body[behind:]
    )


def _augmentation(text: bytes, body: bytes, at: int) -> int:
    """How pointers of FDEs are encoded; _OMITTED when the text is not understood."""
    if not text.startswith(b"z"):
        return _OMITTED
    encoding = _ABSOLUTE
    for letter in text[1:].decode("latin-1"):
        if letter == "R":
            encoding, at = body[at], at + 1
        elif letter == "L":
            at += 1
        elif letter == "P":
            personality, at = body[at], at + 1
            at += _size(personality)
        elif letter not in "SB":
            return _OMITTED
    return encoding


def _size(encoding: int) -> int:
    """Bytes of a pointer. Raises ElfError for one that tells its own length, or none."""
    letter = _LETTERS.get(encoding & 0x0F)
    if letter is None or encoding == _OMITTED:
        raise ElfError(f"a pointer encoded as {encoding:#x}")
    return struct.calcsize("<" + letter)
