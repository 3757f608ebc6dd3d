# SPDX-License-Identifier: Apache-2.0
"""One window as bytes."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.spool.errors import SpoolError
from collector.spool.format import (
    HEADER_SIZE,
    MAX_NUMBER,
    MAX_PAYLOAD,
    Header,
    name_of,
    number_of,
    pack,
    unpack,
    unpack_header,
)

numbers = st.integers(0, 2**64 - 1)
headers = st.builds(Header, numbers, numbers, numbers, numbers, numbers)
WHOLE = pack(Header(1, 2, 3, 4, 5), b"payload")


@given(headers, st.binary(max_size=200))
def test_what_was_packed_is_unpacked(header, payload):
    data = pack(header, payload)
    assert unpack(data) == (header, payload)
    assert unpack_header(data[:HEADER_SIZE]).header == header


@given(st.binary(max_size=200))
def test_any_bytes_are_a_window_or_a_spool_error(data):
    with pytest.raises(SpoolError):
        unpack(data)


@given(st.integers(0, len(WHOLE) * 8 - 1))
def test_no_flipped_bit_goes_unnoticed(bit):
    data = bytearray(WHOLE)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SpoolError):
        unpack(bytes(data))


@given(st.integers(0, len(WHOLE) - 1))
def test_no_missing_end_goes_unnoticed(length):
    with pytest.raises(SpoolError):
        unpack(WHOLE[:length])


def test_more_than_announced_is_refused():
    with pytest.raises(SpoolError, match="8 bytes, 7 announced"):
        unpack(WHOLE + b"x")


def test_the_example_of_the_drawing():
    data = pack(Header(1, 2, 3, 4, 5), b"x")
    assert HEADER_SIZE == 68
    drawn = "50 41 57 49 4e 44 4f 57 00 01 00 00 8c dc 16 83 00 00 00 00 00 00 00 01"
    assert data.startswith(bytes.fromhex(drawn))


@pytest.mark.parametrize(
    ("version", "flags", "length", "reason"),
    [(2, 0, 0, "version 2"), (1, 1, 0, "flags 0x1"), (1, 0, MAX_PAYLOAD + 1, "at most")],
)
def test_what_a_later_version_may_write_is_refused_with_its_reason(version, flags, length, reason):
    fields = struct.pack(">8sHHIQQQQQQ", b"PAWINDOW", version, flags, 0, length, 1, 1, 1, 1, 1)
    with pytest.raises(SpoolError, match=reason):
        unpack_header(fields + struct.pack(">I", zlib.crc32(fields)))


def test_what_does_not_fit_is_refused_before_writing():
    with pytest.raises(SpoolError):
        pack(Header(-1, 0, 0, 0, 0), b"")
    with pytest.raises(SpoolError):
        pack(Header(0, 0, 0, 0, 0), bytes(MAX_PAYLOAD + 1))


@given(st.integers(1, MAX_NUMBER), st.integers(1, MAX_NUMBER))
def test_names_sort_as_their_numbers(one, other):
    assert number_of(name_of(one)) == one
    assert (name_of(one) < name_of(other)) == (one < other)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1.window",
        name_of(0),
        name_of(1)[1:],
        name_of(1) + "\n",
        f".{name_of(1)}.tmp",
        f"../{name_of(1)}",
        "9" * 20 + ".window",
        "-" + name_of(1)[1:],
        "\N{ARABIC-INDIC DIGIT ONE}" * 20 + ".window",
    ],
)
def test_other_names_are_no_windows(name):
    assert number_of(name) is None
