# SPDX-License-Identifier: Apache-2.0
"""Records of .eh_frame and .debug_frame, good and bad."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.elf.source import ElfError
from collector.unwind.entries import FrameReader, FrameSection
from tests.collector.unwind.cfi_maker import NEW, cie, debug_frame, eh_frame, record

HERE = 0x10000


def read(data, *, debug=False):
    reader = FrameReader(FrameSection(data, HERE, debug))
    return list(reader.fdes()), reader.refused


def test_functions_of_an_eh_frame():
    functions = [(0x400, 16, b"\x41"), (0x410, 32, b"\x42")]
    fdes, refused = read(eh_frame(functions, HERE))
    assert [(fde.start, fde.size, fde.program[:1]) for fde in fdes] == functions
    assert fdes[0].cie is fdes[1].cie
    assert fdes[0].cie.program.startswith(NEW)
    assert not refused


@pytest.mark.parametrize("version", [1, 3, 4])
def test_functions_of_a_debug_frame(version):
    head = cie(augmentation=b"", version=version)
    fdes, refused = read(debug_frame([(0x400, 16, b"\x41")], head), debug=True)
    assert [(fde.start, fde.size) for fde in fdes] == [(0x400, 16)]
    assert not refused


def test_records_of_64_bits():
    head = cie(augmentation=b"", version=4)
    data = struct.pack("<IQQ", 0xFFFFFFFF, 8 + len(head), (1 << 64) - 1) + head
    body = struct.pack("<QQQ", 0, 0x400, 16)
    fdes, _ = read(data + struct.pack("<IQ", 0xFFFFFFFF, len(body)) + body, debug=True)
    assert [(fde.start, fde.size) for fde in fdes] == [(0x400, 16)]


def test_a_signal_frame_and_a_personality():
    data = b"\x1b" + bytes(4) + b"\x1b\x1b"
    fdes, _ = read(eh_frame([(0x400, 16, b"")], HERE, cie(augmentation=b"zPLRS", data=data)))
    assert fdes[0].cie.signal
    assert fdes[0].start == 0x400


def test_sec_length_zero_is_passed_over():
    data = eh_frame([(0x400, 16, b"")], HERE)
    fdes, _ = read(data + bytes(4) + bytes(4))
    assert len(fdes) == 1
    assert read(bytes(8)) == ([], 0)


@pytest.mark.parametrize("length", [0xFFFFFFFE, 0xFFFFFFFF, 0x7FFFFFFF, 1, 3])
def test_sec_a_length_that_is_none(length):
    data = eh_frame([(0x400, 16, b"")], HERE)
    with pytest.raises(ElfError):
        read(data + struct.pack("<I", length) + bytes(12))


@pytest.mark.parametrize("cut", [5, 9, 13])
def test_sec_a_section_that_ends_within_a_record(cut):
    with pytest.raises(ElfError):
        read(eh_frame([(0x400, 16, b"")], HERE)[:-cut])


def test_sec_an_augmentation_without_nul():
    body = b"\x01" + b"z" * 60
    fdes, refused = read(eh_frame([(0x400, 16, b"")], HERE, body))
    assert (fdes, refused) == ([], 1)


@pytest.mark.parametrize("pointer", [4, 8, 0x7FFFFFFF, 0xFFFFFFFF])
def test_sec_a_cie_pointer_to_itself_or_outside(pointer):
    """Distance 4 is the FDE's own start; it is no CIE."""
    good = eh_frame([(0x400, 16, b"")], HERE)
    bad = record(pointer, struct.pack("<iI", 0, 16) + b"\0")
    fdes, refused = read(good + bad)
    assert (len(fdes), refused) == (1, 1)


@pytest.mark.parametrize(
    ("text", "data"),
    [(b"eh", b""), (b"R", b"\x1b"), (b"zQ", b"\x1b"), (b"zR", b"\x9b"), (b"zR", b"\xff"),
     (b"zR", b"\x01"), (b"zR", b"\x3b"), (b"zP", b"\x01"), (b"zPR", b"\xff")],
)  # fmt: skip
def test_an_augmentation_that_is_not_understood_refuses_its_functions(text, data):
    fdes, refused = read(eh_frame([(0x400, 16, b"")], HERE, cie(augmentation=text, data=data)))
    assert (fdes, refused) == ([], 1)


@pytest.mark.parametrize("head", [cie(version=2), cie(version=4)[:5], b"", cie() + bytes(300)])
def test_a_cie_of_unknown_kind_or_size_refuses_its_functions(head):
    assert read(eh_frame([(0x400, 16, b"")], HERE, head)) == ([], 1)


@pytest.mark.parametrize(("start", "size"), [(0x400, 0), (-0x20000, 16), (0x400, 0xFFFFFFFF)])
def test_a_range_that_no_function_has_is_refused(start, size):
    assert read(eh_frame([(start, size, b"")], HERE)) == ([], 1)


def test_sec_every_place_may_be_called_a_cie_but_few_are_kept():
    """FDEs that name as many different places as there are FDEs."""
    head = record(0, cie())
    wrong = b"".join(record(8 * n + 5, bytes(12)) for n in range(40_000))
    reader = FrameReader(FrameSection(head + wrong, HERE))
    assert list(reader.fdes()) == []
    assert reader.refused == 40_000
    assert len(reader._cies) <= 1 << 14


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_functions_or_an_elf_error(data, debug):
    with contextlib.suppress(ElfError):
        read(data, debug=debug)


GOOD = eh_frame([(0x400 + 16 * n, 16, b"\x41\x0e\x10") for n in range(3)], HERE)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=8))
def test_any_damage_gives_functions_or_an_elf_error(changes):
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    with contextlib.suppress(ElfError):
        fdes, _ = read(bytes(data))
        assert all(0 < fde.size < 1 << 32 and 0 <= fde.start < 1 << 63 for fde in fdes)
