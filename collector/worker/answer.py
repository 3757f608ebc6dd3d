# SPDX-License-Identifier: Apache-2.0
"""One request in, one answer out; the symbols of a few executables are kept meanwhile."""

from __future__ import annotations

import os
import stat
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from collector.elf.parse import SymbolTable, describe, symbol_table
from collector.elf.parse_names import MAX_NAME, safe_name
from collector.elf.parse_symbols import MAX_STRINGS, MAX_SYMBOLS, Functions, functions
from collector.elf.source import ElfError, Source
from collector.unwind.chunks import packed
from collector.unwind.plan import plan
from collector.worker.wire import MAX_ADDRESSES, MAX_EXTENTS, WireError

_MAX_CACHED = 8
_ENTRY_SIZE = {32: 16, 64: 24}

_KEY = struct.Struct("=I")

_Identity = tuple[int, int, int, int]
"""Device, inode, size and mtime: unlike a build id, no other file can claim it."""


@dataclass(frozen=True, slots=True)
class _Symbols:
    table: SymbolTable
    functions: Functions


class Answer(NamedTuple):
    """A message, and pieces of what follows it."""

    message: dict[str, Any]
    pieces: Sequence[bytes] = ()


class Answerer:
    """Answers requests; one that does not fit the protocol is a WireError."""

    def __init__(self) -> None:
        self._cache: OrderedDict[_Identity, _Symbols | None] = OrderedDict()

    def answer(self, request: dict[str, Any], fd: int) -> Answer:
        """The answer to a request of wire.py; what is wrong with the file becomes "error"."""
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ElfError("not a regular file")
            if request.get("op") == "describe":
                return Answer(_describe(fd))
            if request.get("op") == "names":
                return Answer(self._names(fd, _addresses(request)))
            if request.get("op") == "unwind":
                return _unwind(fd)
            if request.get("op") == "plan":
                return Answer(_plan(fd, request))
        except ElfError as error:
            return Answer({"error": str(error)})
        raise WireError("no such request")

    def _names(self, fd: int, addresses: list[int]) -> dict[str, Any]:
        symbols = self._symbols(fd)
        if symbols is None:
            return {"names": [[0, 1 << 64, None]] * len(addresses)}
        source = Source.of_descriptor(fd)
        answers = (symbols.functions.lookup(address) for address in addresses)
        return {
            "names": [
                [start, end, None if name is None else _name(source, symbols.table, name)]
                for start, end, name in answers
            ]
        }

    def _symbols(self, fd: int) -> _Symbols | None:
        status = os.fstat(fd)
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if identity not in self._cache:
            self._cache[identity] = _read_symbols(Source.of_descriptor(fd))
            if len(self._cache) > _MAX_CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(identity)
        return self._cache[identity]


def _describe(fd: int) -> dict[str, Any]:
    description = describe(Source.of_descriptor(fd))
    return {
        "build_id": description.build_id,
        "build_id_type": description.build_id_type,
        "segments": [list(segment) for segment in description.segments],
    }


def _unwind(fd: int) -> Answer:
    made = packed(Source.of_descriptor(fd))
    pieces = [_KEY.pack(key) + body for key, body in made.chunks]
    message = {
        "page_shift": made.page_shift,
        "rows": made.rows,
        "left_out": made.left_out,
        "refused": made.refused,
        "bytes": sum(map(len, pieces)),
    }
    return Answer(message, pieces)


def _plan(fd: int, request: dict[str, Any]) -> dict[str, Any]:
    present = request.get("present")
    if not isinstance(present, list) or len(present) > MAX_EXTENTS:
        raise WireError("no list of what is present, or too much")
    ranges = [_pair(value) for value in present]
    wanted = plan(Source.of_descriptor(fd), _offset(request.get("mapped")), ranges)
    return {"extents": [list(extent) for extent in wanted[:MAX_EXTENTS]]}


def _pair(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise WireError("not an offset and a size")
    return _offset(value[0]), _offset(value[1])


def _offset(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise WireError("an offset is no 63-bit number")
    return value


def _addresses(request: dict[str, Any]) -> list[int]:
    addresses = request.get("addresses")
    if not isinstance(addresses, list) or len(addresses) > MAX_ADDRESSES:
        raise WireError("no list of addresses, or too many")
    if not all(type(address) is int and 0 <= address < 1 << 64 for address in addresses):
        raise WireError("an address is no 64-bit number")
    return addresses


def _read_symbols(source: Source) -> _Symbols | None:
    table = symbol_table(source)
    if table is None:
        return None
    size = min(table.size, MAX_SYMBOLS * _ENTRY_SIZE[table.bits])
    if table.strings_size > MAX_STRINGS:
        raise ElfError(f"{table.strings_size} bytes of symbol names")
    found = functions(
        source.read_at(table.offset, size),
        source.read_at(table.strings_offset, table.strings_size),
        table.code,
        bits=table.bits,
        little_endian=table.little_endian,
    )
    return _Symbols(table, found)


def _name(source: Source, table: SymbolTable, name: int) -> str:
    """Read when asked for: the strings of a large executable are not kept in memory."""
    size = min(MAX_NAME, table.strings_size - name)
    return safe_name(source.read_at(table.strings_offset + name, size))
