# SPDX-License-Identifier: Apache-2.0
"""One window on disk: a fixed header, then a serialized WriteRawRequest. Big endian.

     0                 8    10    12          16            24            32
    +-----------------+-----+-----+-----------+-------------+-------------+
    | magic           | ver |flags| payload   | payload     | generation  |
    | "PAWINDOW"      |  1  |  0  | crc32     | length      |             |
    +-----------------+-----+-----+-----------+-------------+-------------+
    32            40            48            56            64            68
    +-------------+-------------+-------------+-------------+-------------+---------
    | sequence    | time_ns     | duration_ns | samples     | header      | payload
    |             |             |             |             | crc32       | ...
    +-------------+-------------+-------------+-------------+-------------+---------

The header's checksum covers bytes 0 to 63, so that a header is trusted without reading
the payload. No flag is defined yet and none is accepted. Example: generation 1, sequence
2, time 3, duration 4, samples 5, payload "x" begins

    50 41 57 49 4e 44 4f 57  00 01  00 00  8c dc 16 83  00 00 00 00 00 00 00 01 ...

A file is named by its spool number: 20 digits, then ".window". Numbers only rise, so names
sort by age. A name beginning with "." is being written and belongs to the writer alone.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from collector.spool.errors import SpoolError

MAGIC = b"PAWINDOW"
VERSION = 1

# What Parca takes as one message; a window beyond it could never be shipped.
MAX_PAYLOAD = 64 << 20

# Leaves room to count on for longer than the disk will last.
MAX_NUMBER = 10**18

_FIELDS = struct.Struct(">8sHHIQQQQQQ")
_CRC = struct.Struct(">I")
HEADER_SIZE = _FIELDS.size + _CRC.size
MAX_FILE = HEADER_SIZE + MAX_PAYLOAD

_NAME = re.compile(r"([0-9]{20})\.window\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the payload.

    generation, sequence: which flip of which set of pins the window came from; no other set of
    pins has had that generation.
    time_ns: start of the window, since the epoch. duration_ns: its length.
    samples: sum of the counts in the payload. All are unsigned 64-bit numbers.
    """

    generation: int
    sequence: int
    time_ns: int
    duration_ns: int
    samples: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """A checked header with what is needed to check the payload."""

    header: Header
    payload_length: int
    payload_crc: int


def pack(header: Header, payload: bytes) -> bytes:
    """The file's bytes. Raises SpoolError if the payload is too long or a number too large."""
    if len(payload) > MAX_PAYLOAD:
        raise SpoolError(f"payload of {len(payload)} bytes, at most {MAX_PAYLOAD} are allowed")
    numbers = header.generation, header.sequence, header.time_ns, header.duration_ns, header.samples
    try:
        fields = _FIELDS.pack(MAGIC, VERSION, 0, zlib.crc32(payload), len(payload), *numbers)
    except struct.error as error:
        raise SpoolError(f"{header}: {error}") from None
    return fields + _CRC.pack(zlib.crc32(fields)) + payload


def unpack_header(data: bytes) -> Envelope:
    """The header of a file of which `data` is the beginning. Raises SpoolError."""
    if len(data) < HEADER_SIZE:
        raise SpoolError(f"{len(data)} bytes, shorter than a header")
    fields = data[: _FIELDS.size]
    magic, version, flags, crc, length, *numbers = _FIELDS.unpack(fields)
    if magic != MAGIC:
        raise SpoolError("not a window")
    if _CRC.unpack_from(data, _FIELDS.size)[0] != zlib.crc32(fields):
        raise SpoolError("header checksum does not match")
    if version != VERSION or flags:
        raise SpoolError(f"version {version} with flags {flags:#x}, known is {VERSION} with none")
    if length > MAX_PAYLOAD:
        raise SpoolError(f"payload of {length} bytes, at most {MAX_PAYLOAD} are allowed")
    return Envelope(Header(*numbers), length, crc)


def unpack(data: bytes) -> tuple[Header, bytes]:
    """Header and payload of a whole file. Raises SpoolError."""
    envelope = unpack_header(data)
    payload = data[HEADER_SIZE:]
    if len(payload) != envelope.payload_length:
        raise SpoolError(f"payload of {len(payload)} bytes, {envelope.payload_length} announced")
    if zlib.crc32(payload) != envelope.payload_crc:
        raise SpoolError("payload checksum does not match")
    return envelope.header, payload


def name_of(number: int) -> str:
    """The file name of a spool number."""
    return f"{number:020d}.window"


def number_of(name: str) -> int | None:
    """The spool number of a file name; None for any other name."""
    match = _NAME.match(name)
    number = int(match[1]) if match else 0
    return number if 0 < number <= MAX_NUMBER else None
