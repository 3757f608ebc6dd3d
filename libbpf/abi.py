# SPDX-License-Identifier: Apache-2.0
"""bpf/abi.h as Python sees it: sizes, field offsets, enums, and the hash that names the layout."""

from __future__ import annotations

from typing import Any

from libbpf._libbpf import ffi, lib
from libbpf.errors import text_of

SHARED_STRUCTS = (
    "stack",
    "sample_key",
    "control",
    "counters",
    "event",
    "mapping_record",
    "task_record",
    "end_record",
    "unwind_rule",
    "ranges_key",
    "range_file",
    "recent_range",
    "ranges",
    "unwind_key",
    "unwind_chunk",
    "executable",
    "memory_request",
    "memory_record",
)

MAX_FRAMES: int = lib.MAX_FRAMES
OUTCOMES: int = lib.OUTCOMES
EVENT_EXEC: int = lib.EVENT_EXEC
EVENT_EXIT: int = lib.EVENT_EXIT
EVENT_MISS: int = lib.EVENT_MISS
EVENT_MAPPED: int = lib.EVENT_MAPPED
RANGES_PER_CHUNK: int = lib.RANGES_PER_CHUNK
RECENT_RANGES: int = lib.RECENT_RANGES
EXECUTABLES: int = lib.EXECUTABLES
EXECUTABLE_BITS: int = lib.EXECUTABLE_BITS
FILE_VDSO: int = lib.FILE_VDSO
UNWIND_DATA: int = lib.UNWIND_DATA
UNWIND_ROWS: int = lib.UNWIND_ROWS
UNWIND_PARTS: int = lib.UNWIND_PARTS
UNWIND_PART_BITS: int = lib.UNWIND_PART_BITS
RECORD_MAPPING: int = lib.RECORD_MAPPING
RECORD_TASK: int = lib.RECORD_TASK
RECORD_END: int = lib.RECORD_END


def sha256() -> str:
    """SHA-256 of the abi.h this module was built with; loader and collector must agree on it."""
    return text_of(lib.pa_abi_sha256())


def libbpf_version() -> str:
    return text_of(lib.pa_libbpf_version())


def object_hashes() -> dict[str, str]:
    """SHA-256 of each embedded BPF object by name, in load order."""
    names: list[str] = []
    while name := text_of(lib.pa_object_name(len(names))):
        names.append(name)
    return {name: text_of(lib.pa_object_sha256(name.encode())) for name in names}


def size_of(struct: str) -> int:
    return int(ffi.sizeof(f"struct {struct}"))


def fields(struct: str) -> dict[str, tuple[int, int]]:
    """Field name -> (offset, size) of a struct of abi.h, in bytes."""
    return {
        name: (field.offset, int(ffi.sizeof(field.type)))
        for name, field in ffi.typeof(f"struct {struct}").fields
    }


def counter_names() -> tuple[str, ...]:
    """Fields of struct counters in order; the first OUTCOMES of them are the outcomes."""
    return tuple(name for name, _ in ffi.typeof("struct counters").fields)


def struct_format(struct: str) -> str:
    """The `struct` module's format of a struct made of numbers, arrays, and structs of them.

    cffi's layout is C's; that no padding hides between the fields is checked here.
    """
    return "=" + _struct_letters(struct)


def _struct_letters(struct: str) -> str:
    letters = ""
    end = 0
    for name, field in ffi.typeof(f"struct {struct}").fields:
        if field.offset != end:
            raise ValueError(f"struct {struct} has padding before {name}")
        letters += _letters(field.type)
        end = field.offset + int(ffi.sizeof(field.type))
    if end != size_of(struct):
        raise ValueError(f"struct {struct} has padding at its end")
    return letters


_LETTERS = {
    "char": "c",
    "unsigned char": "B",
    "short": "h",
    "unsigned short": "H",
    "int": "i",
    "unsigned int": "I",
    "unsigned long long": "Q",
}


def _letters(ctype: Any) -> str:
    if ctype.kind == "array":
        item = _letters(ctype.item)
        if item == "c":
            return f"{ctype.length}s"
        return f"{ctype.length}{item}" if len(item) == 1 else item * int(ctype.length)
    if ctype.kind == "struct":
        return _struct_letters(ctype.cname.removeprefix("struct "))
    return _LETTERS[ctype.cname]
