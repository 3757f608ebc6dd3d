# SPDX-License-Identifier: Apache-2.0
"""Headers, sections and notes of an executable, found by pyelftools.

Pure: a source gives a value or ElfError, in time bounded by BudgetedStream. Only here is
pyelftools used. It raises what it likes on hostile input, so all of it becomes ElfError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, TypeVar, cast

from elftools.common.utils import struct_parse
from elftools.elf.elffile import ELFFile
from elftools.elf.notes import iter_notes

from collector.elf.source import BudgetedStream, ElfError, Source

_MAX_SEGMENTS = 256
_MAX_SECTIONS = 4096
_MAX_BUILD_ID = 64
_HASHED = 4096
_PF_X = 1
_SHF_EXECINSTR = 4
_SHF_COMPRESSED = 0x800

Segment = tuple[int, int, int]
"""File offset, virtual address and size in the file of an executable PT_LOAD."""

_Header = Any
"""A header of pyelftools: a mapping from the ELF standard's field names to numbers."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Description:
    """build_id is lower-case hex: of the GNU note, or ("hash") of our own making."""

    build_id: str
    build_id_type: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class SymbolTable:
    """Where the symbols lie. code: section number -> (address, end) of executable sections."""

    bits: int
    little_endian: bool
    offset: int
    size: int
    strings_offset: int
    strings_size: int
    code: dict[int, tuple[int, int]]


def describe(source: Source) -> Description:
    """Build id and executable segments. Raises ElfError."""
    return _guarded(source, lambda elf: _describe(elf, source))


def symbol_table(source: Source) -> SymbolTable | None:
    """.symtab, else .dynsym, else None (stripped of both, or of all section headers).

    Raises ElfError.
    """
    return _guarded(source, _symbol_table)


def fallback_build_id(source: Source) -> str:
    """For files without a note: SHA-256, cut to 16 bytes, of first 4096 B, last 4096 B, size."""
    edge = min(_HASHED, source.size)
    digest = hashlib.sha256(source.read_at(0, edge))
    digest.update(source.read_at(source.size - edge, edge))
    digest.update(source.size.to_bytes(8, "big"))
    return digest.digest()[:16].hex()


def _guarded(source: Source, parse: Callable[[ELFFile], _T]) -> _T:
    try:
        elf = ELFFile(cast(IO[bytes], BudgetedStream(source)))
        if elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
            raise ElfError(f"no executable: {elf['e_type']}")
        return parse(elf)
    except ElfError:
        raise
    except Exception as error:  # its own security policy promises nothing about exceptions
        raise ElfError(f"not a readable ELF file: {type(error).__name__}") from error


def _describe(elf: ELFFile, source: Source) -> Description:
    headers = list(_program_headers(elf))
    segments = tuple(
        (header["p_offset"], header["p_vaddr"], header["p_filesz"])
        for header in headers
        if header["p_type"] == "PT_LOAD" and header["p_flags"] & _PF_X and header["p_filesz"]
    )
    build_id = next(_build_ids(elf, headers), None)
    if build_id is not None:
        return Description(build_id, "gnu", segments)
    return Description(fallback_build_id(source), "hash", segments)


def _program_headers(elf: ELFFile) -> Iterator[_Header]:
    count, size = elf["e_phnum"], elf["e_phentsize"]
    if count > _MAX_SEGMENTS:
        raise ElfError(f"{count} program headers")
    if count and size < elf.structs.Elf_Phdr.sizeof():
        raise ElfError("program headers are too small")
    for index in range(count):
        yield struct_parse(elf.structs.Elf_Phdr, elf.stream, elf["e_phoff"] + index * size)


def _build_ids(elf: ELFFile, headers: list[_Header]) -> Iterator[str]:
    for header in headers:
        if header["p_type"] != "PT_NOTE":
            continue
        for note in iter_notes(elf, header["p_offset"], header["p_filesz"]):
            if note["n_type"] == "NT_GNU_BUILD_ID" and note["n_name"] == "GNU":
                raw = note["n_descdata"]
                if 0 < len(raw) <= _MAX_BUILD_ID and len(raw) == note["n_descsz"]:
                    yield raw.hex()


def _symbol_table(elf: ELFFile) -> SymbolTable | None:
    sections = list(_section_headers(elf))
    code = {
        index: (section["sh_addr"], section["sh_addr"] + section["sh_size"])
        for index, section in enumerate(sections)
        if section["sh_flags"] & _SHF_EXECINSTR
    }
    by_type = {section["sh_type"]: section for section in reversed(sections)}
    table = by_type.get("SHT_SYMTAB") or by_type.get("SHT_DYNSYM")
    if table is None:
        return None
    if table["sh_flags"] & _SHF_COMPRESSED or table["sh_link"] >= len(sections):
        raise ElfError("the symbol table is compressed or has no strings")
    strings = sections[table["sh_link"]]
    return SymbolTable(
        bits=elf.elfclass,
        little_endian=elf.little_endian,
        offset=table["sh_offset"],
        size=table["sh_size"],
        strings_offset=strings["sh_offset"],
        strings_size=strings["sh_size"],
        code=code,
    )


def _section_headers(elf: ELFFile) -> Iterator[_Header]:
    """More than SHN_LORESERVE sections are beyond the cap, so e_shnum alone counts."""
    count, size = elf["e_shnum"], elf["e_shentsize"]
    if count > _MAX_SECTIONS:
        raise ElfError(f"{count} sections")
    if count and size < elf.structs.Elf_Shdr.sizeof():
        raise ElfError("section headers are too small")
    for index in range(count):
        yield struct_parse(elf.structs.Elf_Shdr, elf.stream, elf["e_shoff"] + index * size)
