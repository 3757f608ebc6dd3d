# SPDX-License-Identifier: Apache-2.0
"""An unwind table on disk: a fixed header, then the chunks as the ELF worker sent them. Big endian,
but for the chunks, which are in the byte order of the machine.

     0            8        10      12          14    16          32
    +------------+--------+-------+-----------+-----+-----------+-----------+
    | magic      | format | flags | page      |  0  | reader    | key       |
    | "PAUNWIND" |   1    |       | shift     |     |           |           |
    +------------+--------+-------+-----------+-----+-----------+-----------+
    48       52         56        60       64        72         76        80
    +--------+----------+---------+--------+---------+----------+---------+------
    | rows   | left out | refused | chunks | length  | body     | header  | body
    |        |          |         |        | of body | crc32    | crc32   |
    +--------+----------+---------+--------+---------+----------+---------+------

key says what the table was made of and reader by which version of our code: a table that another
version made is not used. Flag 1: the body is a zlib stream. The header's checksum covers bytes 0
to 75.
"""

from __future__ import annotations

import struct
import zlib

from collector.symbolize.tables import BODY_SIZE, UnwindTable, parse_table
from collector.worker.wire import MAX_TABLE, WireError

MAGIC = b"PAUNWIND"
FORMAT = 1
COMPRESSED = 1
KEY_SIZE = READER_SIZE = 16

_FIELDS = struct.Struct(f">8s4H{READER_SIZE}s{KEY_SIZE}s4IQI")
_CRC = struct.Struct(">I")
_CHUNK_KEY = struct.Struct("=I")
_CHUNK = _CHUNK_KEY.size + BODY_SIZE
HEADER_SIZE = _FIELDS.size + _CRC.size
MAX_FILE = HEADER_SIZE + MAX_TABLE
_WORTH = 0.8
"""A body is compressed if that leaves less than this share of it."""


class StoredError(ValueError):
    """The bytes are not a table that can be used."""


class OtherReaderError(StoredError):
    """They are one, made by another version of the code."""


def pack(key: bytes, reader: bytes, table: UnwindTable) -> bytes:
    """The file's bytes; StoredError for a table beyond MAX_TABLE."""
    body = b"".join(_CHUNK_KEY.pack(page) + chunk for page, chunk in table.chunks)
    if len(body) > MAX_TABLE:
        raise StoredError(f"a table of {len(body)} bytes")
    flags, small = 0, zlib.compress(body, 1)
    if len(small) < _WORTH * len(body):
        flags, body = COMPRESSED, small
    fields = _FIELDS.pack(
        MAGIC, FORMAT, flags, table.page_shift, 0, reader, key,
        table.rows, table.left_out, table.refused, len(table.chunks), len(body), zlib.crc32(body),
    )  # fmt: skip
    return fields + _CRC.pack(zlib.crc32(fields)) + body


def unpack(key: bytes, reader: bytes, data: bytes) -> UnwindTable:
    """The table of a file. Raises StoredError, whatever the bytes are."""
    if len(data) < HEADER_SIZE or zlib.crc32(data[: _FIELDS.size]) != _crc(data):
        raise StoredError("no header, or a damaged one")
    (
        magic, form, flags, shift, zero, made_by, made_of,
        rows, left_out, refused, chunks, length, crc,
    ) = _FIELDS.unpack_from(data)  # fmt: skip
    if magic != MAGIC:
        raise StoredError("another kind of file")
    if form != FORMAT or made_by != reader:
        raise OtherReaderError("made by another version")
    if made_of != key or flags & ~COMPRESSED or zero:
        raise StoredError("not what its name says")
    body = memoryview(data)[HEADER_SIZE:]
    if len(body) != length or zlib.crc32(body) != crc:
        raise StoredError("damaged")
    size = chunks * _CHUNK
    raw = _expanded(body, size) if flags else bytes(body)
    if len(raw) != size:
        raise StoredError("another number of chunks")
    numbers = {"page_shift": shift, "rows": rows, "left_out": left_out, "refused": refused}
    try:
        return parse_table(numbers, raw)
    except WireError as error:
        raise StoredError(str(error)) from error


def _crc(data: bytes) -> int:
    crc: int = _CRC.unpack_from(data, _FIELDS.size)[0]
    return crc


def _expanded(body: memoryview, size: int) -> bytes:
    """Exactly `size` bytes; no more is ever taken out of the stream."""
    if size > MAX_TABLE:
        raise StoredError(f"a table of {size} bytes")
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(body, size + 1)
    except zlib.error as error:
        raise StoredError(str(error)) from error
    if not stream.eof or stream.unused_data:
        raise StoredError("a stream that does not end where it should")
    return raw
